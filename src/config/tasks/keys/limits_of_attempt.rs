//! Readers of the keys that limit what all processes of an attempt use together.

use toml::de::DeValue;

use super::super::draft::Draft;
use super::super::mistake::{Mistake, quote};
use super::super::value::{TableEntry, kind};
use crate::config::quantity;

/// The most processes that Linux has (`PID_MAX_LIMIT`).
pub(super) const MAX_PROCESSES: u32 = 4_194_304;
/// The least memory that can be asked for. With less, no program starts, so a smaller number lacks its unit.
const MIN_MEMORY_BYTES: u64 = 1 << 20;
/// The most memory that can be asked for: more than any machine has.
const MAX_MEMORY_BYTES: u64 = 1 << 50;
/// The bounds of `cpus`, in thousandths of a processor.
const MILLICPUS: std::ops::RangeInclusive<u32> = 10..=1_024_000;

pub(super) fn read_memory(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "write a number with a unit, such as `memory = \"2GiB\"` or `memory = \"500MB\"`";
    let text = entry.text(help)?;
    let bytes = quantity::parse_size(text).map_err(|_| entry.wrong(format!("{} is not a size", quote(text)), help))?;
    if !(MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&bytes) {
        return Err(entry.wrong("`memory` must be from 1MiB to 1024TiB", help));
    }
    draft.recipe.memory_bytes = Some(bytes);
    Ok(())
}

pub(super) fn read_cpus(entry: &TableEntry<'_, '_>, draft: &mut Draft<'_>) -> Result<(), Mistake> {
    let help = "write a number from 0.01 to 1024, such as `cpus = 2` or `cpus = 0.5`";
    let value = entry.value.get_ref();
    let thousandths = match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|it| it as f64),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
        DeValue::String(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            return Err(entry.wrong(format!("`cpus` must be a number, this is {}", kind(value)), help));
        }
    };
    // A float that is out of the range, or none, becomes one of its ends, which are refused.
    let thousandths = thousandths.map_or(0, |number| (number * 1000.0).round() as u32);
    if !MILLICPUS.contains(&thousandths) {
        return Err(entry.wrong("`cpus` must be from 0.01 to 1024", help));
    }
    draft.recipe.millicpus = Some(thousandths);
    Ok(())
}
