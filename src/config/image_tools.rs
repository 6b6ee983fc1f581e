//! The container tools that a runner can use for tasks with an image: the commands of each, as templates. The built-in
//! ones stand in `image_tools.toml`; an operator's file of the same form replaces the commands that it names.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The built-in tools.
pub const BUILT_IN_IMAGE_TOOLS: &str = include_str!("image_tools.toml");

/// The built-in tools in the order in which they are looked for.
const ORDER: [&str; 3] = ["podman", "docker", "apptainer"];

/// The word of `--image-tool` for a runner that offers no images.
pub const NO_IMAGE_TOOL: &str = "none";

/// The words between braces that a template may have.
const PLACEHOLDERS: [&str; 21] = [
    "image",
    "file",
    "name",
    "instance",
    "tree",
    "objects",
    "temporary",
    "control",
    "script",
    "uid",
    "gid",
    "network",
    "memory",
    "processes",
    "cpus",
    "host",
    "publish",
    "variable",
    "directory",
    "entrypoint",
    "argument",
];

/// A word of a template, or several that are left out together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum TemplateWord {
    One(String),
    Group(Vec<String>),
}

impl TemplateWord {
    /// Returns its words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Group(words) => words,
        }
    }
}

/// A command with placeholders.
pub type Template = Vec<TemplateWord>;

/// The templates of one tool, as the file has them. A command that is not there keeps its built-in form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Commands {
    check: Option<Template>,
    inspect: Option<Template>,
    pull: Option<Template>,
    run: Option<Template>,
    exec: Option<Template>,
    service: Option<Template>,
    stop: Option<Template>,
    list: Option<Template>,
}

/// A container tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTool {
    pub name: String,
    /// Succeeds if the tool can be used, such as a daemon that answers.
    pub check: Option<Template>,
    /// Prints the digest of an image that is on this machine, then the word by which `run` names the image.
    pub inspect: Template,
    pub pull: Template,
    /// Executes a script in a new container and waits for its end.
    pub run: Template,
    /// Executes a script in a container that runs.
    pub exec: Option<Template>,
    /// Executes the own command of an image, or another one, in a new container and waits for its end.
    pub service: Option<Template>,
    /// Removes a container, whether it runs or not.
    pub stop: Option<Template>,
    /// Prints the names of the containers of this runner.
    pub list: Option<Template>,
}

/// The tools that a runner may use, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTools {
    pub tools: Vec<ImageTool>,
    /// The operator named the tool, so that it is an error if the tool is not there.
    pub is_named: bool,
}

impl ImageTools {
    /// No tool: the runner offers no images.
    #[must_use]
    pub fn none() -> Self {
        Self { tools: Vec::new(), is_named: false }
    }

    /// Returns the tool `named`, or the built-in ones in their order, with the commands of the operator's file. Without
    /// `file` it is `surveil/images.toml` in the user's directory of settings, if there is one. An error is for people.
    pub fn read(named: Option<&str>, file: Option<&Path>) -> Result<Self, String> {
        let own = match file {
            Some(file) => Some((file.to_owned(), text_of(file)?.ok_or_else(|| missing(file))?)),
            None => match default_file() {
                Some(file) => text_of(&file)?.map(|text| (file, text)),
                None => None,
            },
        };
        let own = own.as_ref().map(|(file, text)| (file.display().to_string(), &**text));
        Self::from_text(named, own.as_ref().map(|(name, text)| (&**name, *text)))
    }

    fn from_text(named: Option<&str>, own: Option<(&str, &str)>) -> Result<Self, String> {
        let mut all = parse("the built-in tools", BUILT_IN_IMAGE_TOOLS)?;
        if let Some((name, text)) = own {
            for (tool, commands) in parse(name, text)? {
                let merged = all.remove(&tool).unwrap_or_default().replaced_by(commands);
                all.insert(tool, merged);
            }
        }
        if named == Some(NO_IMAGE_TOOL) {
            return Ok(Self::none());
        }
        let mut names: Vec<&str> = named.map_or_else(|| ORDER.to_vec(), |name| vec![name]);
        if named.is_none() {
            names.extend(all.keys().map(|name| &**name).filter(|name| !ORDER.contains(name)));
        }
        let tools = names.into_iter().map(|name| {
            let commands = all.get(name).ok_or_else(|| {
                let known: Vec<&str> = all.keys().map(|name| &**name).collect();
                format!("no container tool is called {name}; known are {} and {NO_IMAGE_TOOL}", known.join(", "))
            })?;
            commands.clone().tool(name)
        });
        Ok(Self { tools: tools.collect::<Result<_, _>>()?, is_named: named.is_some() })
    }
}

impl Commands {
    fn replaced_by(self, own: Self) -> Self {
        // An empty list takes a command away.
        let pick = |own: Option<Template>, old: Option<Template>| own.or(old).filter(|words| !words.is_empty());
        Self {
            check: pick(own.check, self.check),
            inspect: pick(own.inspect, self.inspect),
            pull: pick(own.pull, self.pull),
            run: pick(own.run, self.run),
            exec: pick(own.exec, self.exec),
            service: pick(own.service, self.service),
            stop: pick(own.stop, self.stop),
            list: pick(own.list, self.list),
        }
    }

    fn tool(self, name: &str) -> Result<ImageTool, String> {
        let needed = |template: Option<Template>, key: &str| {
            template.ok_or_else(|| format!("the container tool {name} has no command `{key}`"))
        };
        Ok(ImageTool {
            name: name.to_owned(),
            check: self.check,
            inspect: needed(self.inspect, "inspect")?,
            pull: needed(self.pull, "pull")?,
            run: needed(self.run, "run")?,
            // Only a container with a name can be entered and stopped, and a service is both.
            service: self.service.filter(|_| self.stop.is_some() && self.exec.is_some()),
            exec: self.exec.filter(|_| self.stop.is_some()),
            stop: self.stop,
            list: self.list,
        })
    }
}

/// Reads a file of templates, which is called `name` in errors.
fn parse(name: &str, text: &str) -> Result<BTreeMap<String, Commands>, String> {
    let tools: BTreeMap<String, Commands> = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        format!("{name}:{line}: {}", error.message().replace('\n', " "))
    })?;
    for (tool, commands) in &tools {
        let Commands { check, inspect, pull, run, exec, service, stop, list } = commands;
        let templates = [check, inspect, pull, run, exec, service, stop, list].into_iter().flatten().flatten();
        for word in templates.flat_map(TemplateWord::words) {
            if let Some(unknown) = placeholders(word).find(|found| !PLACEHOLDERS.contains(found)) {
                let known = PLACEHOLDERS.join("}, {");
                return Err(format!(
                    "{name}: {tool}: `{word}` has the placeholder {{{unknown}}}; known are {{{known}}}"
                ));
            }
        }
    }
    Ok(tools)
}

/// Returns the words between single braces. `{{…}}` belongs to the tool.
pub fn placeholders(word: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    let parts = word.match_indices('{').filter(|(at, _)| !word[..*at].ends_with('{'));
    parts.filter_map(move |(at, _)| word[at + 1..].split_once('}').map(|(name, _)| name).filter(|name| is_name(name)))
}

fn default_file() -> Option<PathBuf> {
    let given = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = given
        .or_else(|| env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".config")))?;
    Some(directory.join("surveil").join("images.toml"))
}

fn text_of(file: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("could not read the container tools in {}: {error}", file.display())),
    }
}

fn missing(file: &Path) -> String {
    format!("there is no file {} with container tools", file.display())
}

/// Returns the file of a program in `path`, if it is there and executable.
#[must_use]
pub fn program_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(is_program);
    }
    env::split_paths(path).map(|directory| directory.join(program)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tools: &ImageTools) -> Vec<&str> {
        tools.tools.iter().map(|tool| &*tool.name).collect()
    }

    fn words(template: &Template) -> Vec<&str> {
        template.iter().flat_map(TemplateWord::words).map(|word| &**word).collect()
    }

    #[test]
    fn the_built_in_tools_are_looked_for_in_one_order() {
        let all = ImageTools::from_text(None, None).unwrap();
        assert_eq!((names(&all), all.is_named), (ORDER.to_vec(), false));
        let one = ImageTools::from_text(Some("docker"), None).unwrap();
        assert_eq!((names(&one), one.is_named), (vec!["docker"], true));
        assert_eq!(ImageTools::from_text(Some("none"), None).unwrap(), ImageTools::none());
        let unknown = ImageTools::from_text(Some("dokcer"), None).unwrap_err();
        assert_eq!(unknown, "no container tool is called dokcer; known are apptainer, docker, podman and none");
    }

    #[test]
    fn the_operators_manual_has_the_built_in_commands() {
        let manual = include_str!("../../docs/operating.md");
        assert!(manual.contains(&format!("```toml\n{BUILT_IN_IMAGE_TOOLS}```\n")));
    }

    /// No variable of the host reaches a task, whose files stay its runner's, and a container is found again.
    #[test]
    fn the_built_in_commands_pass_no_variable_and_name_their_containers() {
        for tool in ImageTools::from_text(None, None).unwrap().tools {
            let run = words(&tool.run);
            assert!(!run.iter().any(|word| word.starts_with("--env=") || *word == "-e" || *word == "--rm"), "{run:?}");
            for place in
                ["{tree}", "{objects}", "{temporary}", "{control}", "{script}", "{image}", "={memory}", "={network}"]
            {
                assert!(run.iter().any(|word| word.contains(place)), "{place} in {run:?}");
            }
            let (is_named, can_stop) = (run.contains(&"--name={name}"), tool.stop.is_some());
            assert_eq!([is_named, can_stop, tool.list.is_some()], [tool.name != "apptainer"; 3]);
            let Some(service) = &tool.service else {
                assert_eq!(tool.name, "apptainer");
                continue;
            };
            let service = words(service);
            for word in
                ["--name={name}", "--label=surveil.work={instance}", "--volume={tree}:{tree}:ro", "--network={host}"]
            {
                assert!(service.contains(&word), "{word} in {service:?}");
            }
            assert!(
                service.iter().all(|word| !word.starts_with("--env=") || *word == "--env={variable}"),
                "{service:?}"
            );
        }
    }

    #[test]
    fn an_operators_file_replaces_single_commands_and_adds_tools() {
        let text = "[podman]\nstop = [\"podman\", \"kill\", \"{name}\"]\n\
                    [nerdctl]\ninspect = [\"a\"]\npull = [\"b\"]\nrun = [\"c\", [\"--net\", \"{network}\"]]\n";
        let all = ImageTools::from_text(None, Some(("images.toml", text))).unwrap();
        assert_eq!(names(&all), ["podman", "docker", "apptainer", "nerdctl"]);
        assert_eq!(words(all.tools[0].stop.as_ref().unwrap()), ["podman", "kill", "{name}"]);
        let built_in = ImageTools::from_text(Some("podman"), None).unwrap();
        assert_eq!(all.tools[0].run, built_in.tools[0].run);
        let text = "[podman]\nexec = []\n";
        assert_eq!(ImageTools::from_text(Some("podman"), Some(("f", text))).unwrap().tools[0].exec, None);
    }

    #[test]
    fn a_mistake_in_an_operators_file_is_told_with_its_place() {
        let wrong = |text| ImageTools::from_text(None, Some(("images.toml", text))).unwrap_err();
        let unknown = wrong("[podman]\nruns = []\n");
        assert!(unknown.starts_with("images.toml:2: unknown field `runs`"), "{unknown}");
        let typing = wrong("[podman]\nrun = [\"podman\", \"{imgae}\"]\n");
        assert!(
            typing.starts_with("images.toml: podman: `{imgae}` has the placeholder {imgae}; known are"),
            "{typing}"
        );
        assert_eq!(wrong("[mine]\nrun = [\"x\"]\n"), "the container tool mine has no command `inspect`");
        assert!(wrong("[podman\n").starts_with("images.toml:1: "));
    }

    #[test]
    fn braces_of_the_tool_are_no_placeholders() {
        let found = |word| placeholders(word).collect::<Vec<_>>();
        assert_eq!(found("--format={{.Digest}} {{json .}}"), Vec::<&str>::new());
        assert_eq!(found("{tree}:{tree}:ro"), ["tree", "tree"]);
        assert_eq!(found("{}{A}{"), Vec::<&str>::new());
    }
}
