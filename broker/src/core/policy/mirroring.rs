//! The keys of classic queue mirroring, `ha-*`. A broker on one node has nothing to mirror to, so they
//! are judged as RabbitMQ judges them and then left alone.

use super::PolicyValue;
use super::keys::{Definition, is_one_of};

pub(super) const MODE: &str = "ha-mode";
pub(super) const PARAMS: &str = "ha-params";
pub(super) const SYNC_MODE: &str = "ha-sync-mode";
pub(super) const SYNC_BATCH_SIZE: &str = "ha-sync-batch-size";
pub(super) const PROMOTE_ON_SHUTDOWN: &str = "ha-promote-on-shutdown";
pub(super) const PROMOTE_ON_FAILURE: &str = "ha-promote-on-failure";

/// What the keys ask of one another.
pub(super) fn check(definition: &Definition) -> Result<(), String> {
    let Some(mode) = definition.get(MODE) else {
        let dependent = [
            PARAMS,
            SYNC_MODE,
            SYNC_BATCH_SIZE,
            PROMOTE_ON_SHUTDOWN,
            PROMOTE_ON_FAILURE,
        ];
        return match dependent.iter().any(|key| definition.contains_key(*key)) {
            true => Err(format!(
                "{MODE} must be specified to specify {PARAMS}, {SYNC_MODE} or {PROMOTE_ON_SHUTDOWN}"
            )),
            false => Ok(()),
        };
    };
    check_params(mode.as_text().unwrap_or_default(), definition.get(PARAMS))
}

fn check_params(mode: &str, params: Option<&PolicyValue>) -> Result<(), String> {
    let given = || params.map_or_else(|| "none".to_owned(), PolicyValue::to_term);
    match (mode, params) {
        ("all", None) => Ok(()),
        ("all", Some(_)) => Err(format!("{MODE}=\"all\" does not take parameters")),
        ("exactly", Some(PolicyValue::Number(1..))) => Ok(()),
        ("exactly", _) => Err(format!(
            "{MODE}=\"exactly\" takes an integer, {} given",
            given()
        )),
        ("nodes", Some(PolicyValue::List(nodes))) if is_list_of_names(nodes) => Ok(()),
        _ => Err(format!("{MODE}=\"nodes\" takes a list, {} given", given())),
    }
}

fn is_list_of_names(nodes: &[PolicyValue]) -> bool {
    !nodes.is_empty() && nodes.iter().all(|node| node.as_text().is_some())
}

/// How RabbitMQ refuses a value of one of these keys.
pub(super) fn refusal(key: &str, value: &str) -> Option<String> {
    Some(match key {
        MODE => format!("{value} is not a valid {MODE} value"),
        SYNC_MODE => format!("{SYNC_MODE} must be \"manual\" or \"automatic\", got {value}"),
        SYNC_BATCH_SIZE => {
            format!("{SYNC_BATCH_SIZE} takes an integer greater than 0, {value} given")
        }
        PROMOTE_ON_SHUTDOWN | PROMOTE_ON_FAILURE => {
            format!("{key} must be \"always\" or \"when-synced\", got {value}")
        }
        _ => return None,
    })
}

pub(super) fn is_mode(value: &PolicyValue) -> bool {
    is_one_of(value, &["all", "exactly", "nodes"])
}

pub(super) fn is_sync_mode(value: &PolicyValue) -> bool {
    is_one_of(value, &["manual", "automatic"])
}

pub(super) fn is_promotion(value: &PolicyValue) -> bool {
    is_one_of(value, &["always", "when-synced"])
}
