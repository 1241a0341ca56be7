//! The words in which a missing permission is refused.

use crate::raw::Text;
use crate::trial::Trial;

variants! {
    /// Of whatever asks for a permission.
    pub(super) ACCESS_REFUSED: "PUB-21" {
        PERMISSION_IS_NOT_NAMED "permission-not-named" "The text begins with: access to.";
        PERMISSION_IS_NAMED "permission-named" "The text begins with: write access to, and so on.";
    }
}

/// The refusal for want of a permission, `configure`, `write` or `read`, on a resource, which is for
/// instance `queue 'q' in vhost '/'`.
pub(super) fn access_refused(t: &Trial, permission: &str, resource: &str, user: &str) -> Text {
    let (variant, access) = match t.accepts(PERMISSION_IS_NOT_NAMED) {
        true => (PERMISSION_IS_NOT_NAMED, "access".to_owned()),
        false => (PERMISSION_IS_NAMED, format!("{permission} access")),
    };
    t.saw(variant);
    Text::from(format!(
        "ACCESS_REFUSED - {access} to {resource} refused for user '{user}'"
    ))
}
