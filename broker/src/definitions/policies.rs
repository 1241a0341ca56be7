//! What becomes of the policies in definitions. The one place to change when there is more to do with
//! them.

use super::document::Definitions;
use super::report::Report;

/// Names every policy that has no effect.
pub(super) fn report(definitions: &Definitions, report: &mut Report) {
    for policy in &definitions.policies {
        let kind = if policy.is_operator {
            "operator policy"
        } else {
            "policy"
        };
        let what = format!("{} ({kind})", policy.place);
        report.not_honoured(what, "policies have no effect here yet");
    }
}
