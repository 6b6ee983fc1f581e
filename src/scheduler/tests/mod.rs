//! Stories that the scheduler must tell right: a script of events in, the effects that matter out. All invariants are
//! checked after every event.

mod artifacts;
mod builds;
mod drains;
mod expansion;
mod holds;
mod lines;
mod losses;
mod outputs;
mod plans;
mod refs;
mod reruns;
mod runners;
mod schedules;
mod settings;
mod slots;
mod spawns;
mod story;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::model::reason::*;
use crate::model::*;
use story::*;
