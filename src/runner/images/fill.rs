//! Makes commands of templates. Pure.

use crate::config::{TemplateWord, placeholders};

/// The values of placeholders. A placeholder without a value has none in this attempt, such as a limit. One may have
/// several, such as the variables of a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Values(Vec<(&'static str, Vec<String>)>);

impl Values {
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.set_all(name, vec![value.into()]);
    }

    pub(super) fn set_all(&mut self, name: &'static str, values: Vec<String>) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, values));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    fn get(&self, name: &str) -> &[String] {
        self.0.iter().find(|(known, _)| *known == name).map_or(&[], |(_, values)| values)
    }
}

/// Returns the words of a command. A word with a placeholder that has no value is left out, and so is its whole group.
/// A group with a placeholder that has several values is repeated for each of them.
pub(super) fn fill(template: &[TemplateWord], values: &Values) -> Vec<String> {
    let mut filled_words = Vec::new();
    for words in template.iter().map(TemplateWord::words) {
        let counts = || words.iter().flat_map(|word| placeholders(word)).map(|name| values.get(name).len());
        let times = if counts().any(|count| count == 0) { 0 } else { counts().max().unwrap_or(1) };
        filled_words.extend((0..times).flat_map(|at| words.iter().map(move |word| filled(word, values, at))));
    }
    filled_words
}

/// Replaces the placeholders of a word by their values at this place, or by their last ones. Braces in a value stay as
/// they are.
fn filled(word: &str, values: &Values, at: usize) -> String {
    let (mut text, mut rest) = (String::new(), word);
    while let Some(name) = placeholders(rest).next() {
        let placeholder = format!("{{{name}}}");
        let Some((before, behind)) = rest.split_once(&placeholder) else { break };
        text.push_str(before);
        let all = values.get(name);
        text.push_str(all.get(at).or(all.last()).map_or("", String::as_str));
        rest = behind;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_get_their_values_once_and_words_without_one_are_left_out() {
        let one = |word: &str| TemplateWord::One(word.into());
        let group = |words: &[&str]| TemplateWord::Group(words.iter().map(|word| (*word).into()).collect());
        let template = [
            one("tool"),
            one("--volume={tree}:{tree}"),
            one("--memory={memory}"),
            group(&["--net", "--network={network}"]),
            group(&["--cpus", "{cpus}"]),
            one("--format={{.Names}}"),
            one("{image}"),
            one("--env={variable}"),
            one("{argument}"),
        ];
        let mut values = Values::default();
        values.set("tree", "/a {image}");
        values.set("image", "old");
        values.set("image", "{tree}");
        values.set("cpus", "1.5");
        values.set_all("variable", vec!["A=1".into(), "B={cpus}".into()]);
        values.set_all("argument", Vec::new());
        let wanted = ["tool", "--volume=/a {image}:/a {image}", "--cpus", "1.5", "--format={{.Names}}", "{tree}"];
        let wanted = [&wanted[..], &["--env=A=1", "--env=B={cpus}"]].concat();
        assert_eq!(fill(&template, &values), wanted);
    }
}
