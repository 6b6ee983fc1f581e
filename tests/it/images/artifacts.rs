//! Artifacts of tasks with an image: as those of others, in both directions.

use super::{Podman, in_image};
use crate::harness::job;

/// S43, S45.
#[test]
fn a_task_in_an_image_takes_what_others_left_and_leaves_what_others_take() {
    let Some(podman) = Podman::new() else { return };
    let world = &podman.world;
    let (repository, _roles) = podman.stage(&[]);
    let tasks = "[task.build]\nrun = '''\nmkdir -p dist/sub dist/empty\necho made > dist/made\n\
                 printf '#!/bin/sh\\necho run' > dist/sub/run; chmod +x dist/sub/run; ln -s sub/run dist/link\n\
                 echo aside > aside'''\nartifacts = ['dist/**', { name = 'aside', paths = ['aside'] }]\n"
        .to_owned()
        + &in_image(&[
            (
                "pack",
                "needs = ['build']\nrun = '''\ncat dist/made; ./dist/link; test -d dist/empty; test -L dist/link\n\
                 mkdir out; echo packed > out/pack; cat dist/made >> out/pack; ls aside'''\nartifacts = ['out/**']",
            ),
            ("choosy", "needs = ['build']\ntake = ['build:aside']\nrun = 'cat aside; test ! -e dist'"),
        ])
        + "[task.last]\nneeds = ['pack']\nrun = 'cat out/pack; test ! -e dist'\n";
    let commit = repository.commit_tasks(&tasks);
    let build = world.expect(&commit, "passed");
    for (task, said) in [("pack", "\nmade\nrun\naside\n"), ("choosy", "\naside\n"), ("last", "packed\nmade\n")] {
        let log = world.log_of(&build, task);
        assert!(log.contains(said), "{task}: {log}");
    }
    assert_eq!(job(&build, "pack").attempts[0].execution.as_ref().unwrap().tier, "image");
    let to = world.path("fetched");
    world.surveil(&["artifacts", "get", "latest", "pack", "-o", crate::harness::text(&to)]).ok();
    assert_eq!(std::fs::read_to_string(to.join("out/pack")).unwrap(), "packed\nmade\n");
    podman.has_no_containers();
}
