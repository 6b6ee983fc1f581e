//! Templates: tables of keys that tasks take by `extends`, and that may extend one another.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::findings::Findings;
use super::layers::{Layer, SetKey};
use super::limits::MAX_EXTENDS;
use super::mistake::{Mistake, quote};
use super::suggest::nearest;
use super::value::Placed;

const EXTENDS_HELP: &str = "list the names of templates, such as `extends = [\"rust\"]`";

/// The templates of a file.
#[derive(Debug, Default)]
pub(super) struct Templates<'t, 'i> {
    all: Vec<Template<'t, 'i>>,
    index: HashMap<&'t str, usize>,
    /// Names that are in the file and give no template, because of another mistake. They may be extended.
    broken: HashSet<&'t str>,
}

#[derive(Debug)]
struct Template<'t, 'i> {
    name: &'t str,
    layer: Layer<'t, 'i>,
    lineage: Lineage,
}

/// The templates that a template takes its keys from, itself included, as indexes: a later one wins over an earlier.
#[derive(Debug)]
enum Lineage {
    Unknown,
    /// It is being made: a template that is met again extends itself.
    InTheMaking,
    Known(Vec<usize>),
}

impl<'t, 'i> Templates<'t, 'i> {
    /// The number of templates.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Adds a template. Its name is there once, because TOML has a key only once.
    pub(super) fn add(&mut self, name: &'t str, layer: Layer<'t, 'i>) {
        self.index.insert(name, self.all.len());
        self.all.push(Template { name, layer, lineage: Lineage::Unknown });
    }

    /// Adds a name that gives no template, because of a mistake that is told.
    pub(super) fn add_broken(&mut self, name: &'t str) {
        self.broken.insert(name);
    }

    /// Finds out which templates each one takes its keys from, once all are there.
    pub(super) fn link(&mut self, found: &mut Findings) {
        for at in 0..self.all.len() {
            self.find_lineage(at, &mut Vec::new(), found);
        }
    }

    /// Returns the layers of the templates that a task extends, in the order in which they are laid over one another.
    /// Returns none if one of them is not there, which is a mistake.
    pub(super) fn layers(&self, extends: &SetKey<'t, 'i>, found: &mut Findings) -> Option<Vec<&Layer<'t, 'i>>> {
        let (named, is_whole) = self.named(extends, found);
        let lineages = named.iter().filter_map(|(at, _)| match &self.all[*at].lineage {
            Lineage::Known(lineage) => Some(&**lineage),
            Lineage::Unknown | Lineage::InTheMaking => None,
        });
        is_whole.then(|| joined(lineages).into_iter().map(|at| &self.all[at].layer).collect())
    }

    /// Finds the templates that a template takes its keys from, and those of these first. Recurses at most as deep as
    /// there are templates, which are few.
    /// `path` has the templates that led here.
    fn find_lineage(&mut self, at: usize, path: &mut Vec<usize>, found: &mut Findings) {
        if !matches!(self.all[at].lineage, Lineage::Unknown) {
            return;
        }
        self.all[at].lineage = Lineage::InTheMaking;
        path.push(at);
        let extends = self.all[at].layer.get("extends").cloned();
        let named = extends.map(|extends| self.named(&extends, found).0).unwrap_or_default();
        let mut lineages: Vec<Vec<usize>> = Vec::new();
        for (other, place) in named {
            self.find_lineage(other, path, found);
            match &self.all[other].lineage {
                Lineage::Known(lineage) => lineages.push(lineage.clone()),
                Lineage::Unknown => {}
                Lineage::InTheMaking => found.mistake(self.circle(path, other, place)),
            }
        }
        path.pop();
        lineages.push(vec![at]);
        self.all[at].lineage = Lineage::Known(joined(lineages.iter().map(|lineage| &**lineage)));
    }

    /// Returns the templates of the names in a value of `extends`, and whether all names are those of templates.
    fn named(&self, extends: &SetKey<'t, 'i>, found: &mut Findings) -> (Vec<(usize, Range<usize>)>, bool) {
        let mut of_value = Findings::default();
        let read = extends.entry.texts(EXTENDS_HELP, &mut of_value);
        let mut names = of_value.unless_wrong(read).unwrap_or_default();
        if let Some(further) = names.get(MAX_EXTENDS) {
            let message = format!("a table extends at most {MAX_EXTENDS} templates");
            let help = "let a template extend several of these, and extend that";
            of_value.mistake(Mistake::new(further.place.clone(), message, help));
            names.truncate(MAX_EXTENDS);
        }
        let mut is_whole = !of_value.has_mistakes();
        let mut known = Vec::new();
        for Placed { place, value: name } in names {
            match self.index.get(name) {
                Some(at) => known.push((*at, place)),
                None => {
                    is_whole = false;
                    if !self.broken.contains(name) {
                        of_value.mistake(self.unknown(name, place));
                    }
                }
            }
        }
        found.append_once(of_value, extends.entry.value.span().start);
        (known, is_whole)
    }

    fn unknown(&self, name: &str, place: Range<usize>) -> Mistake {
        let help = match nearest(name, self.all.iter().map(|template| template.name)) {
            Some(near) => format!("write `{near}`, or add a table `[template.…]` of that name"),
            None => "add a table `[template.NAME]` of that name; tasks cannot be extended".to_owned(),
        };
        Mistake::new(place, format!("there is no template {}", quote(name)), help)
    }

    /// Makes the mistake for the last template of a path, which extends an earlier one of it.
    fn circle(&self, path: &[usize], first: usize, place: Range<usize>) -> Mistake {
        let circle = path.iter().skip_while(|at| **at != first).chain([&first]);
        let names: Vec<String> = circle.map(|at| quote(self.all[*at].name).replace('`', "")).collect();
        let message = format!("templates extend one another in a circle: {}", names.join(" -> "));
        Mistake::new(place, message, "remove one of these names; `a -> b` says that a extends b")
    }
}

/// Joins lineages. A template that is in several of them counts where it is last.
fn joined<'l>(lineages: impl DoubleEndedIterator<Item = &'l [usize]>) -> Vec<usize> {
    let mut seen = HashSet::new();
    let mut all: Vec<usize> = lineages.rev().flat_map(|lineage| lineage.iter().rev()).copied().collect();
    all.retain(|at| seen.insert(*at));
    all.reverse();
    all
}
