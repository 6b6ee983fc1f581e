//! Reader of `secrets`: the secrets that the attempts of a task get.

use super::super::draft::Draft;
use super::super::mistake::{Mistake, quote};
use super::super::value::{TableEntry, entries, kind};
use crate::model::recipe::WantedSecret;
use crate::model::secret::{MAX_SECRETS, is_secret_name};

const HELP: &str = "write names, such as `secrets = [\"NPM_TOKEN\"]`, and `{ name = \"GPG_KEY\", file = true }` for\n\
                    a variable with the path of a file that holds the value";

pub(super) fn read_secrets(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let Some(list) = entry.value.get_ref().as_array() else {
        return Err(entry.wrong(format!("`secrets` must be a list, this is {}", kind(entry.value.get_ref())), HELP));
    };
    draft.recipe.secrets.clear();
    for item in list.iter() {
        let wrong = |message: String| Mistake::new(item.span(), message, HELP);
        let read = if let Some(name) = item.get_ref().as_str() {
            Ok(WantedSecret { name: name.to_owned(), file: false })
        } else if let Some(table) = item.get_ref().as_table() {
            let mut secret = WantedSecret { name: String::new(), file: false };
            let parts = entries(table);
            let read = parts.iter().try_for_each(|part| {
                match part.key {
                    "name" => part.text(HELP)?.clone_into(&mut secret.name),
                    "file" => secret.file = part.flag()?,
                    other => {
                        let message = format!("unknown key {} of a secret", quote(other));
                        return Err(Mistake::new(part.key_place.clone(), message, "a secret has `name` and `file`"));
                    }
                }
                Ok(())
            });
            read.map(|()| secret)
        } else {
            Err(wrong(format!("a secret must be a string or a table, this is {}", kind(item.get_ref()))))
        };
        let read = read.and_then(|secret| {
            if !is_secret_name(&secret.name) {
                let message = format!("{} cannot name a secret", quote(&secret.name));
                let help = "the task has it in a variable of this name: use letters, digits and `_`, and no name that \
                            begins with SURVEIL";
                return Err(Mistake::new(item.span(), message, help));
            }
            if draft.recipe.secrets.iter().any(|other| other.name == secret.name) {
                let message = format!("the secret {} is named twice", quote(&secret.name));
                return Err(Mistake::new(item.span(), message, "name it once"));
            }
            Ok(secret)
        });
        if let Some(secret) = draft.found.unless_wrong(read) {
            draft.recipe.secrets.push(secret);
        }
    }
    if draft.recipe.secrets.len() > MAX_SECRETS {
        let message = format!("a task has at most {MAX_SECRETS} secrets");
        return Err(entry.wrong(message, "let one secret be a file with several values"));
    }
    Ok(())
}
