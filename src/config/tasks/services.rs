//! The tables `[service.NAME]` of a file: reads each, and gives tasks the services that they name in `services`. A
//! service may have placeholders for the values of a matrix, so it is read for each cell.

use std::collections::HashSet;
use std::ops::Range;

use toml::de::DeTable;

use super::command::{self, script_for_sh};
use super::draft::Draft;
use super::findings::Findings;
use super::foreign::{self, Level};
use super::keys::{self, SERVICE_KEYS, read_duration, variables};
use super::limits::MAX_SERVICE_TIMEOUT_MS;
use super::mistake::{Mistake, quote};
use super::replace;
use super::suggest::nearest;
use super::value::{Placed, TableEntry, entries, kind};
use crate::model::{
    MAX_SERVICE_NAME_CHARS, MAX_SERVICES, PORT_VARIABLE, Pull, Service, ServiceImage, is_service_name,
    variable_of_service,
};

/// Advises to write a service as a table.
pub(super) const EXAMPLE: &str = "write each service as a table with its name, such as\n\
                       [service.db]\nrun = \"exec redis-server --port $PORT\"";

/// The services of a file.
#[derive(Debug, Default)]
pub(super) struct Services<'t, 'i> {
    /// In the order of the file.
    all: Vec<ServiceTable<'t, 'i>>,
    /// Names that are in the file and give no service, because of another mistake. Tasks may name them.
    broken: HashSet<&'t str>,
    /// The names that tasks name.
    used: HashSet<&'t str>,
}

#[derive(Debug)]
struct ServiceTable<'t, 'i> {
    name: &'t str,
    place: Range<usize>,
    table: &'t DeTable<'i>,
}

/// Gives a task, or a cell of its matrix, the services that it names.
pub(super) fn give(
    services: &mut Services<'_, '_>,
    draft: &mut Draft<'_>,
    (axes, values): (&[&str], &[String]),
    found: &mut Findings,
) {
    for Placed { place, value: name } in std::mem::take(&mut draft.services) {
        let mut of_name = Findings::default();
        let wrong = |message: String, help: &str| Mistake::new(place.clone(), message, help);
        if draft.recipe.services.iter().any(|service| service.name == *name) {
            of_name.mistake(wrong(format!("the service {} is named twice", quote(&name)), "name it once"));
        } else if draft.recipe.services.len() == MAX_SERVICES {
            let help = "let one service start several programs";
            of_name.mistake(wrong(format!("a task has at most {MAX_SERVICES} services"), help));
        } else if let Some(service) = services.all.iter().find(|service| service.name == &*name) {
            services.used.insert(service.name);
            let table = (service.place.clone(), service.table);
            let mut of_service = Findings::default();
            draft.recipe.services.extend(read_service(service.name, table, Some((axes, values)), &mut of_service));
            // Its warnings were told when its table was read.
            if of_service.has_mistakes() {
                of_name.append(of_service);
            }
        } else if !services.broken.contains(&*name) {
            of_name.mistake(wrong(format!("there is no service {}", quote(&name)), &services.advice(&name)));
        }
        if draft.recipe.unreachable_service().is_some_and(|service| service.name == *name) {
            let message = format!("the task has no network, so it does not reach the service {}", quote(&name));
            let help = "leave `network = false` out, or let task and services be programs of the runner's machine, without\n\
                        `image`: those share a loopback of their own";
            of_name.mistake(wrong(message, help));
        }
        // Several cells read the same names, and several tasks those of a template.
        found.append_once(of_name, place.start);
    }
}

impl<'t, 'i> Services<'t, 'i> {
    /// Reads the table of one service.
    pub(super) fn read(&mut self, entry: &TableEntry<'t, 'i>, found: &mut Findings) {
        let (name, place) = (entry.key, entry.key_place.clone());
        let wrong = |message: String, help: &str| Mistake::new(entry.key_place.clone(), message, help);
        let variable = variable_of_service(name);
        let mut of_service = Findings::default();
        if !is_service_name(name) {
            let help = format!("use 1 to {MAX_SERVICE_NAME_CHARS} of a-z 0-9 _ - and start with a letter");
            of_service.mistake(wrong(format!("{} cannot name a service", quote(name)), &help));
        } else if let Some(other) = self.all.iter().find(|other| variable_of_service(other.name) == variable) {
            let other = quote(other.name);
            let message = format!("services {other} and {} have the same variable, {variable}", quote(name));
            of_service.mistake(wrong(message, "give one of them another name"));
        } else if let Some(table) = entry.value.get_ref().as_table() {
            // Values that depend on a matrix are read for its cells.
            drop(read_service(name, (place.clone(), table), None, &mut of_service));
            self.all.push(ServiceTable { name, place, table });
        } else {
            let value = kind(entry.value.get_ref());
            of_service.mistake(wrong(format!("service {} must be a table, this is {value}", quote(name)), EXAMPLE));
        }
        if of_service.has_mistakes() {
            self.broken.insert(name);
            self.all.retain(|service| service.name != name);
        }
        found.append(of_service);
    }

    /// Adds a warning for each service that no task names.
    pub(super) fn look_for_unused(&self, found: &mut Findings) {
        for service in self.all.iter().filter(|service| !self.used.contains(service.name)) {
            let name = service.name;
            let message = format!("no task uses the service {}", quote(name));
            let help = format!("write `services = [\"{name}\"]` in the tasks that need it, or leave it out");
            found.warning(Mistake::new(service.place.clone(), message, help));
        }
    }

    fn advice(&self, typed: &str) -> String {
        let names = self.all.iter().map(|service| service.name);
        match nearest(typed, names) {
            Some(near) => format!("write `{near}`"),
            None if is_service_name(typed) => {
                format!("add it to the file, such as\n[service.{typed}]\nimage = \"postgres:16\"\nport = 5432")
            }
            None => EXAMPLE.to_owned(),
        }
    }
}

/// Reads one service with the values of a cell; without `cell`, values with placeholders are left out. Returns `None`
/// if a part of it is a mistake in `found`.
fn read_service(
    name: &str,
    (place, table): (Range<usize>, &DeTable<'_>),
    cell: Option<(&[&str], &[String])>,
    found: &mut Findings,
) -> Option<Service> {
    let (mut run, mut has_run, mut ready, mut env) = (None, false, None, Vec::new());
    let (mut image, mut has_image, mut pull, mut port, mut of_image) = (None, false, Pull::default(), None, None);
    let mut timeout_ms = Service::DEFAULT_TIMEOUT_MS;
    for entry in entries(table) {
        let read = match entry.key {
            "run" => {
                has_run = true;
                command::parse_run(&entry, found).map(|read| run = read)
            }
            "image" => {
                has_image = true;
                in_cell(&entry, cell, keys::image_name).map(|read| image = read)
            }
            "pull" => {
                of_image = of_image.or(Some(entry.clone()));
                keys::pull(&entry).map(|read| pull = read)
            }
            "port" => {
                of_image = of_image.or(Some(entry.clone()));
                entry.number(1..=u16::MAX).map(|read| port = Some(read))
            }
            "ready" => command::parse_run(&entry, found).map(|read| ready = read).map_err(about_ready),
            "env" => in_cell(&entry, cell, |entry| read_env(entry, found)).map(|read| env = read.unwrap_or_default()),
            "timeout" => {
                let read = read_duration(&entry, MAX_SERVICE_TIMEOUT_MS, "the default of one minute");
                read.map(|ms| timeout_ms = ms)
            }
            unknown => {
                let near = nearest(unknown, SERVICE_KEYS);
                has_run |= command::OTHER_WORDS.contains(&unknown) || near == Some("run");
                has_image |= matches!(unknown, "container" | "docker") || near == Some("image");
                Err(unknown_key(&entry))
            }
        };
        found.unless_wrong(read);
        if cell.is_none() && matches!(entry.key, "run" | "ready") && replace::is_in(entry.value.get_ref()) {
            let message = format!("nothing is replaced inside `{}`, so that no value becomes a command", entry.key);
            found.warning(entry.wrong(message, "give the service a variable, such as `env = { V = \"${matrix.v}\" }`"));
        }
    }
    if !has_run && !has_image {
        let help = "add a line that says what it is, such as `run = \"exec redis-server --port $PORT\"`\n\
                    or `image = \"postgres:16\"`";
        found.mistake(Mistake::new(place, format!("service {} has neither `run` nor `image`", quote(name)), help));
    }
    if let Some(entry) = of_image.filter(|_| !has_image) {
        let (message, help) = if entry.key == "pull" {
            ("`pull` is for a service with an `image`", "leave it out")
        } else {
            ("`port` is for a service with an `image`", "let the program listen on `$PORT`, which is free for it")
        };
        found.mistake(Mistake::new(entry.key_place, message, help));
    }
    let [script, ready] = [run, ready].map(|run| run.map(|run| script_for_sh(run, found)));
    let image = image.map(|name| ServiceImage { name, pull, port });
    let is_whole = !found.has_mistakes() && (script.is_some() || image.is_some());
    is_whole.then(|| Service { script, image, ready, env, timeout_ms, ..Service::named(name.to_owned()) })
}

/// Reads a value with the values of a cell. Without `cell`, a value with placeholders is left out.
fn in_cell<T>(
    entry: &TableEntry<'_, '_>,
    cell: Option<(&[&str], &[String])>,
    read: impl FnOnce(&TableEntry<'_, '_>) -> Result<T, Mistake>,
) -> Result<Option<T>, Mistake> {
    match cell {
        _ if !replace::is_in(entry.value.get_ref()) => read(entry).map(Some),
        None => Ok(None),
        Some((axes, values)) => {
            let value = replace::replaced(entry.value, axes, values)?;
            read(&TableEntry { value: &value, ..entry.clone() }).map(Some)
        }
    }
}

/// Makes a mistake in a command one in the command of `ready`.
fn about_ready(mistake: Mistake) -> Mistake {
    let Mistake { place, message, help } = mistake;
    let for_ready = |text: String| text.replace("`run", "`ready");
    Mistake { place, message: for_ready(message), help: for_ready(help) }
}

fn read_env(entry: &TableEntry<'_, '_>, found: &mut Findings) -> Result<Vec<(String, String)>, Mistake> {
    let read = variables(entry, found)?;
    if read.iter().any(|(name, _)| name == PORT_VARIABLE) {
        return Err(entry.wrong("`PORT` is set already: it is the port of the service", "use another name"));
    }
    Ok(read)
}

fn unknown_key(entry: &TableEntry<'_, '_>) -> Mistake {
    let key = entry.key;
    let help = match (key, foreign::answer(Level::Service, key), nearest(key, SERVICE_KEYS)) {
        _ if command::OTHER_WORDS.contains(&key) => "write `run`, such as `run = \"redis-server --port $PORT\"`".into(),
        (_, Some(answer), _) => answer.to_owned(),
        (_, None, Some(near)) => format!("write `{near}`"),
        (_, None, None) => format!("the keys of a service are {}", SERVICE_KEYS.join(", ")),
    };
    Mistake::new(entry.key_place.clone(), format!("unknown key {} in a service", quote(key)), help)
}
