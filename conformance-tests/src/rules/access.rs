//! The words in which a missing permission is refused.

use crate::raw::Text;
use crate::trial::Trial;

variants! {
    /// Of whatever asks for a permission.
    pub(super) ACCESS_REFUSED: "PERM-01" {
        PERMISSION_IS_NOT_NAMED "permission-not-named" "The text begins with: access to.";
        PERMISSION_IS_NAMED "permission-named" "The text begins with: write access to, and so on.";
    }
}

/// The refusal for want of a permission, `configure`, `write` or `read`, on a resource, which is for
/// instance `queue 'q' in vhost '/'`.
pub(super) fn access_refused(t: &Trial, permission: &str, resource: &str, user: &str) -> Text {
    let access = match is_permission_named(t) {
        true => format!("{permission} access"),
        false => "access".to_owned(),
    };
    Text::from(format!(
        "ACCESS_REFUSED - {access} to {resource} refused for user '{user}'"
    ))
}

/// Whether a refusal says which permission is missing.
pub(super) fn is_permission_named(t: &Trial) -> bool {
    let is_named = !t.accepts(PERMISSION_IS_NOT_NAMED);
    t.saw(match is_named {
        true => PERMISSION_IS_NAMED,
        false => PERMISSION_IS_NOT_NAMED,
    });
    is_named
}
