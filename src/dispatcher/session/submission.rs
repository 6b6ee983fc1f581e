//! Reads an operator's request for a build.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dispatcher::translate;
use crate::model::{BuildSource, CommitId, FactsId, MAX_PRIORITY, RefName, Trigger, TriggerId, TriggerKind, Trust};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::{MAX_HAVES, MAX_INPUT_BYTES, MAX_INPUTS};
use crate::protocol::operator::SubmitOrder;

/// Returns the build that a `submit` of this person asks for, untrusted until it is judged, the facts of its source,
/// and the place of its repository.
pub(super) fn read(order: &SubmitOrder, by: Option<&str>) -> Result<(BuildSource, Option<FactsId>, String), Refusal> {
    let SubmitOrder { id, trigger, repo: name, source: place, reference: full, commit: of, subject, author, .. } =
        order;
    let id = trigger_id(id).ok_or_else(|| translate::malformed("the `id` of an order has 32 hexadecimal digits"))?;
    check_inputs(&order.inputs)?;
    if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&order.priority) {
        let text = format!("a priority is from -{MAX_PRIORITY} to {MAX_PRIORITY}, not {}", order.priority);
        return Err(Refusal::new(ErrorCode::Refused, text).because("priority"));
    }
    let reference = match full {
        Some(text) => translate::reference("", Some(text))?,
        None => RefName::detached(),
    };
    let by = by.map(Arc::from);
    let kind = match trigger.as_str() {
        "manual" => TriggerKind::Manual { id, by },
        "try" => TriggerKind::Try { id, by },
        other => {
            let name = Refusal::quote(other);
            return Err(translate::malformed(format!("this dispatcher takes no order of the kind `{name}`")));
        }
    };
    let build = BuildSource {
        repo: translate::repo(name)?,
        commit: translate::commit(of)?,
        trigger: Trigger { kind, reference, trust: Trust::Untrusted },
        subject: translate::cut(subject.clone()),
        author: translate::cut(author.clone()),
    };
    Ok((build, translate::facts(order.facts.as_deref())?, translate::source(place)?))
}

/// Checks the values that an order gives to inputs.
pub(super) fn check_inputs(inputs: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let count = inputs.len();
    if count > MAX_INPUTS {
        return Err(translate::malformed(format!("an order has at most {MAX_INPUTS} inputs, not {count}")));
    }
    let is_bad = |value: &&String| value.len() > MAX_INPUT_BYTES || value.contains('\0');
    if let Some(name) = inputs.iter().find(|(_, value)| is_bad(value)).map(|(name, _)| Refusal::quote(name)) {
        let text = format!("the value of `{name}` has more than {MAX_INPUT_BYTES} bytes, or a NUL character");
        return Err(Refusal::new(ErrorCode::Refused, text).because("input_value"));
    }
    Ok(())
}

fn trigger_id(digits: &str) -> Option<TriggerId> {
    let digits = Some(digits).filter(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u128::from_str_radix(digits, 16).ok().map(|number| TriggerId(number.to_be_bytes()))
}

/// Returns the commits that a `haves` names; those beyond the limit do not count.
pub(super) fn haves(commits: &[String]) -> Result<Vec<CommitId>, Refusal> {
    commits.iter().take(MAX_HAVES).map(|id| translate::commit(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_for_a_build_is_read_and_nothing_in_it_makes_it_trusted() {
        let order = |trigger: &str, reference: Option<&str>| SubmitOrder {
            id: "0123456789abcdef0123456789ABCDEF".into(),
            trigger: trigger.into(),
            repo: "app".into(),
            source: "https://me:secret@h/app".into(),
            reference: reference.map(str::to_owned),
            commit: "4f".repeat(20),
            ..SubmitOrder::default()
        };
        let id = TriggerId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes());
        for (trigger, reference, kind) in [
            ("manual", Some("refs/heads/main"), TriggerKind::Manual { id, by: Some("alice".into()) }),
            ("manual", Some("refs/tags/v1"), TriggerKind::Manual { id, by: Some("alice".into()) }),
            ("manual", None, TriggerKind::Manual { id, by: Some("alice".into()) }),
            ("try", Some("refs/heads/main"), TriggerKind::Try { id, by: Some("alice".into()) }),
        ] {
            let (source, _, place) = read(&order(trigger, reference), Some("alice")).unwrap();
            let expected =
                Trigger { kind, reference: RefName::new(reference.unwrap_or("HEAD")), trust: Trust::Untrusted };
            assert_eq!((source.trigger, &*place), (expected, "https://h/app"));
        }
        let refused = |order: &SubmitOrder| read(order, None).unwrap_err().code;
        for reference in ["main", "refs/heads/a..b", "refs/", "", "HEAD"] {
            assert_eq!(refused(&order("manual", Some(reference))), ErrorCode::Refused, "{reference}");
        }
        assert_eq!(refused(&order("push", None)), ErrorCode::Malformed);
        for id in ["", "12", &"g".repeat(32), &"1".repeat(33), "+1234567890123456789012345678901"] {
            assert_eq!(refused(&SubmitOrder { id: id.into(), ..order("manual", None) }), ErrorCode::Malformed, "{id}");
        }
    }
}
