//! Paths below the root of the repository, as the keys `keep` and `dir` take them.

use super::mistake::{Mistake, quote};
use super::value::{Placed, refuse_nul};

/// The texts with which a key refuses a path.
pub(super) struct PathAdvice {
    /// The key, for patterns.
    pub(super) key: &'static str,
    /// What to write.
    pub(super) help: &'static str,
    /// What to write in place of a path outside of the repository.
    pub(super) outside: &'static str,
}

/// Returns the parts of a path below the root of the repository, without what changes nothing, such as `./`. The root
/// itself has no parts.
pub(super) fn parts_of_path<'t>(path: &Placed<&'t str>, advice: &PathAdvice) -> Result<Vec<&'t str>, Mistake> {
    let wrong =
        |why: &str, help: &str| Err(Mistake::new(path.place.clone(), format!("{} {why}", quote(path.value)), help));
    refuse_nul(path.place.clone(), path.value)?;
    if path.value.contains('$') {
        return wrong("is taken as it is, and nothing expands `$`", advice.outside);
    }
    if path.value.starts_with(['/', '~']) {
        return wrong("is not a path inside the work tree", advice.outside);
    }
    if path.value.contains(['*', '?']) {
        return wrong(&format!("is a pattern, and `{}` takes plain paths", advice.key), advice.help);
    }
    let parts: Vec<&str> = path.value.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return wrong("leads out of the work tree", advice.help);
    }
    if parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) {
        return wrong(&format!("belongs to git and cannot be used for `{}`", advice.key), advice.help);
    }
    Ok(parts)
}
