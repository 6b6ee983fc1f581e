//! Tables of services, and the key `services`.

use super::*;
use crate::model::{Pull, Service, ServiceImage};

const DB: &str = "[service.db]\nrun = 'serve'\n";

fn sh(text: &str) -> Script {
    Script::stopping_at_failure(text)
}

#[test]
fn a_task_has_the_services_that_it_names_and_no_others() {
    let tasks = parse(
        "[task.test]\nrun = 'x'\nservices = ['db', 'my-mq']\n[task.lint]\nrun = 'x'\n\
         [service.db]\nrun = 'serve'\nready = ['ping', '-p']\nenv = { A = '1' }\ntimeout = '2m'\n\
         [service.my-mq]\nrun = ['mq']\n[service.unused]\nrun = 'x'",
    );
    let db = Service {
        ready: Some(Script::Program(vec!["ping".into(), "-p".into()])),
        env: vec![("A".into(), "1".into())],
        timeout_ms: 120_000,
        ..Service::new("db".into(), sh("serve"))
    };
    let mq = Service::new("my-mq".into(), Script::Program(vec!["mq".into()]));
    assert_eq!(tasks[0].recipe.services, [db, mq]);
    let labels: Vec<&str> = tasks[0].placement.labels.iter().map(Label::as_str).collect();
    assert_eq!(labels, ["can=services"], "older runners would run it without them");
    assert_eq!((&tasks[1].recipe.services, &tasks[1].placement.labels), (&vec![], &vec![]));
}

#[test]
fn a_service_can_be_an_image_and_beside_a_task_with_an_image() {
    let tasks = parse(
        "[service.db]\nimage = 'postgres:${matrix.pg}'\npull = 'never'\nport = 5432\nenv = { POSTGRES_PASSWORD = 'x' }\n\
         [service.mq]\nimage = 'mq:1'\nrun = 'exec mq --port $PORT'\n\
         [task.a]\nrun = 'x'\nmatrix = { pg = [15, 16] }\nservices = ['db', 'mq']\n\
         [task.b]\nimage = 'rust:1'\nrun = 'x'\nservices = ['mq']\n\
         [service.web]\nrun = 'serve'\n[task.c]\nimage = 'rust:1'\nrun = 'x'\nservices = ['web']\n\
         [task.d]\nrun = 'x'\nnetwork = false\nservices = ['web']",
    );
    let image = |name: &str, pull: Pull, port: Option<u16>| Some(ServiceImage { name: name.into(), pull, port });
    let mq =
        Service { image: image("mq:1", Pull::Missing, None), ..Service::new("mq".into(), sh("exec mq --port $PORT")) };
    for (cell, name) in ["postgres:15", "postgres:16"].into_iter().enumerate() {
        let db = Service {
            image: image(name, Pull::Never, Some(5432)),
            env: vec![("POSTGRES_PASSWORD".into(), "x".into())],
            ..Service::named("db".into())
        };
        assert_eq!(tasks[cell].recipe.services, [db, mq.clone()]);
    }
    assert_eq!(tasks[2].recipe.services, [mq]);
    let labels: Vec<Vec<&str>> =
        tasks.iter().map(|task| task.placement.labels.iter().map(Label::as_str).collect()).collect();
    assert_eq!(labels[0], ["can=service_images", "can=services"]);
    assert_eq!(labels[2], ["can=image", "can=service_images", "can=services"]);
    assert_eq!(labels[3], ["can=image", "can=services"]);
    let text = error("[service.db]\nimage = 'x'\n[task.a]\nrun = 'x'\nnetwork = false\nservices = ['db']");
    assert!(text.contains("does not reach the service `db`"), "{text}");
    let text = error("[service.db]\nimage = 'pg:${matrix.v}'\n[task.a]\nrun = 'x'\nservices = ['db']");
    assert!(text.contains("the task has no matrix, so nothing replaces `${matrix.v}`"), "{text}");
    let text =
        error("[service.db]\nimage = '${matrix.v}'\n[task.a]\nrun = 'x'\nmatrix = { v = ['-x'] }\nservices = ['db']");
    assert!(text.contains("`-x` cannot name an image"), "{text}");
}

#[test]
fn services_come_from_templates_and_defaults_and_differ_between_cells() {
    let tasks = parse(
        "[defaults]\nservices = ['db']\n[template.t]\nservices = ['mq']\n[task.a]\nrun = 'x'\n\
         [task.b]\nrun = 'x'\nextends = ['t']\n[task.c]\nrun = 'x'\nservices = []\n\
         [task.d]\nrun = 'x'\nmatrix = { kind = ['db', 'mq'], v = [1, 2] }\nservices = ['${matrix.kind}']\n\
         [service.db]\nrun = 'serve'\n[service.mq]\nrun = 'serve'",
    );
    let named = |task: &TaskSpec| task.recipe.services.iter().map(|it| it.name.clone()).collect::<Vec<_>>().join(" ");
    let all: Vec<String> = tasks.iter().map(named).collect();
    assert_eq!(all, ["db", "mq", "", "db", "db", "mq", "mq"]);
    let tasks = parse(
        "[service.db]\nrun = 'serve'\nenv = { VERSION = 'v${matrix.v}' }\n\
         [task.a]\nrun = 'x'\nmatrix = { v = [1, 2] }\nservices = ['db']",
    );
    let versions: Vec<&str> = tasks.iter().map(|task| &*task.recipe.services[0].env[0].1).collect();
    assert_eq!(versions, ["v1", "v2"]);
    let text = error(
        "[service.db]\nrun = 'x'\nenv = { V = '${matrix.v}' }\n\
         [task.a]\nrun = 'x'\nservices = ['db']\n[task.b]\nrun = 'x'\nmatrix = { w = [1, 2] }\nservices = ['db']",
    );
    assert!(text.contains("the task has no matrix, so nothing replaces `${matrix.v}`"), "{text}");
    assert!(text.contains("the matrix has no axis for `${matrix.v}`") && text.contains("2 mistakes"), "{text}");
}

#[test]
fn a_service_that_makes_no_sense_is_refused() {
    assert_eq!(
        error("[service.db]\nrun = 'x'\nport = 5432\n[task.a]\nrun = 'x'\nservices = ['db']"),
        "f:3:1: `port` is for a service with an `image`
  |
3 | port = 5432
  | ^^^^
  = help: let the program listen on `$PORT`, which is free for it"
    );
    for (table, message) in [
        ("[service]\ndb = 'x'", "service `db` must be a table, this is a string"),
        ("[service.Db]\nrun = 'x'", "`Db` cannot name a service"),
        ("[service.db]\nready = 'x'", "service `db` has neither `run` nor `image`"),
        ("[service.db]\nimage = '--privileged'", "`--privileged` cannot name an image"),
        ("[service.db]\nimage = 7", "`image` must be a string"),
        ("[service.db]\nimage = 'x'\npull = 'often'", "`often` says no time to pull"),
        ("[service.db]\nrun = 'x'\npull = 'never'", "`pull` is for a service with an `image`"),
        ("[service.db]\nimage = 'x'\nport = 0", "`port` must be from 1 to 65535"),
        ("[service.db]\nimage = 'x'\nport = '5432:5432'", "`port` must be a whole number"),
        ("[service.db]\ncontainer = 'x'", "write `image`, such as `image = \"postgres:16\"`"),
        ("[service.db]\nrun = ''", "`run` is empty"),
        ("[service.db]\nrun = 'x'\nready = ''", "`ready` is empty"),
        ("[service.db]\nrun = 'x'\nready = 7", "`ready` must be a string or a list of strings"),
        ("[service.db]\nrun = 'x'\nenv = { PORT = '1' }", "`PORT` is set already"),
        ("[service.db]\nrun = 'x'\nenv = { SURVEIL_X = '1' }", "`SURVEIL_X` is reserved"),
        ("[service.db]\nrun = 'x'\ntimeout = '2h'", "`timeout` must be at most 60 minutes"),
        ("[service.db]\ncommand = 'x'", "unknown key `command` in a service"),
        ("[service.db]\nimage = 'x'\nports = ['1:1']", "write `port` if an image listens on a port of its own"),
        ("[service.db]\nrun = 'x'\nports = ['1:1']", "`$PORT`, and the service db of a task in"),
        ("[service.db]\nrun = 'x'\nhealthcheck = 'y'", "write `ready`"),
        (
            "[service.my-db]\nrun = 'x'\n[service.my_db]\nrun = 'y'",
            "have the same variable, SURVEIL_SERVICE_MY_DB_PORT",
        ),
        ("[services.db]\nrun = 'x'", "write each service as a table with its name, and name it in tasks"),
    ] {
        let text = error(&format!("{table}\n[task.a]\nrun = 'x'"));
        assert!(text.contains(message), "{table}: {text}");
        assert!(!text.contains("2 mistakes"), "{table}: {text}");
    }
    let many: String = (0..51).map(|n| format!("[service.s{n}]\nrun = 'x'\n")).collect();
    assert!(error(&format!("{many}[task.a]\nrun = 'x'")).contains("a file has at most 50 services"));
}

#[test]
fn names_of_services_that_make_no_sense_are_refused() {
    for (line, message) in [
        ("services = 'db'", "`services` must be a list of strings, this is a string"),
        ("services = ['bd']", "there is no service `bd`"),
        ("services = ['postgres:16']", "there is no service `postgres:16`"),
        ("services = ['db', 'db']", "the service `db` is named twice"),
        (
            "services = ['db']\nimage = 'rust:1'\nnetwork = false",
            "the task has no network, so it does not reach the service `db`",
        ),
    ] {
        let text = error(&format!("{DB}[task.a]\nrun = 'x'\n{line}"));
        assert!(text.contains(message) && !text.contains("2 mistakes"), "{line}: {text}");
    }
    let near = error(&format!("{DB}[task.a]\nrun = 'x'\nservices = ['dbs']"));
    assert!(near.contains("write `db`"), "{near}");
    let names: Vec<String> = (0..9).map(|n| format!("'s{n}'")).collect();
    let tables: String = (0..9).map(|n| format!("[service.s{n}]\nrun = 'x'\n")).collect();
    let text = error(&format!("{tables}[task.a]\nrun = 'x'\nservices = [{}]", names.join(", ")));
    assert!(text.contains("a task has at most 8 services"), "{text}");
    // A service with a mistake is there, and each cell tells the same once.
    let text = error("[service.db]\nrun = ''\n[task.a]\nrun = 'x'\nservices = ['db']");
    assert!(text.contains("`run` is empty") && !text.contains("no service"), "{text}");
    let text = error("[task.a]\nrun = 'x'\nmatrix = { v = [1, 2] }\nservices = ['db']");
    assert!(text.contains("there is no service `db`") && !text.contains("2 mistakes"), "{text}");
}

#[test]
fn a_check_warns_of_a_service_that_no_task_uses_and_of_placeholders_in_commands() {
    let text = "[service.db]\nrun = 'serve ${matrix.v}'\n[service.mq]\nrun = 'x'\n\
                [task.a]\nrun = 'x'\nmatrix = { v = [1, 2] }\nservices = ['db']";
    let warnings = warnings(text);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("nothing is replaced inside `run`"), "{warnings:?}");
    assert!(warnings[1].contains("no task uses the service `mq`"), "{warnings:?}");
}
