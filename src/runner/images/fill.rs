//! Makes commands of templates. Pure.

use crate::config::{TemplateWord, placeholders};

/// The values of placeholders. A placeholder without a value has none in this attempt, such as a limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Values(Vec<(&'static str, String)>);

impl Values {
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value.into()));
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }
}

/// Returns the words of a command. A word with a placeholder that has no value is left out, and so is its whole group.
pub(super) fn fill(template: &[TemplateWord], values: &Values) -> Vec<String> {
    let is_known = |word: &String| placeholders(word).all(|name| values.get(name).is_some());
    let words = template.iter().map(TemplateWord::words).filter(|words| words.iter().all(is_known));
    words.flatten().map(|word| filled(word, values)).collect()
}

/// Replaces the placeholders of a word. Braces in a value stay as they are.
fn filled(word: &str, values: &Values) -> String {
    let (mut text, mut rest) = (String::new(), word);
    while let Some(name) = placeholders(rest).next() {
        let placeholder = format!("{{{name}}}");
        let Some((before, behind)) = rest.split_once(&placeholder) else { break };
        text.push_str(before);
        text.push_str(values.get(name).unwrap_or_default());
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
        ];
        let mut values = Values::default();
        values.set("tree", "/a {image}");
        values.set("image", "old");
        values.set("image", "{tree}");
        values.set("cpus", "1.5");
        let wanted = ["tool", "--volume=/a {image}:/a {image}", "--cpus", "1.5", "--format={{.Names}}", "{tree}"];
        assert_eq!(fill(&template, &values), wanted);
    }
}
