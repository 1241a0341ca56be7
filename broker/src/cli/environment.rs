//! Which environment variable sets which key.
//!
//! `LEVERET_` and the path of the key in capitals, with two underscores for each dot: `log.level`
//! is `LEVERET_LOG__LEVEL`.

use std::ffi::OsString;

use leveret::config::{Layers, Origin, keys};

use super::Fatal;

const PREFIX: &str = "LEVERET_";
/// The variable that names the configuration file, which is an option and not a key.
const FILE_VARIABLE: &str = "LEVERET_CONFIG";

/// Adds every key that is set in `variables`, in the order of their names.
///
/// # Errors
/// A variable with our prefix that is no key, or whose value is not allowed.
pub(super) fn push(
    layers: &mut Layers,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), Fatal> {
    let mut ours: Vec<_> = variables.filter_map(our_variable).collect();
    ours.sort();
    let known = keys();
    for (name, value) in ours {
        let key = known.iter().find(|key| variable_of(&key.path) == name);
        match (key, value.into_string()) {
            (None, Ok(value)) if is_service_link(&name, &value) => {}
            (None, _) => return Err(Fatal::UnknownVariable { name }),
            (Some(_), Err(_)) => return Err(Fatal::VariableNotText { name }),
            (Some(key), Ok(value)) => {
                let origin = Origin::Environment { variable: name };
                layers.push_value(origin, &key.path, &value)?;
            }
        }
    }
    Ok(())
}

/// The variable that sets the key of this path.
fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_uppercase())
}

fn our_variable((name, value): (OsString, OsString)) -> Option<(String, OsString)> {
    let name = name.into_string().ok()?;
    let is_ours = name.starts_with(PREFIX) && name != FILE_VARIABLE;
    is_ours.then_some((name, value))
}

/// Kubernetes sets `LEVERET_PORT=tcp://…` and its like in every container when a service is called
/// `leveret`. These are nobody's mistake.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = value.starts_with("tcp://") || value.starts_with("udp://");
    let is_host_or_port = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    let is_part = name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP"));
    is_host_or_port || is_part || (is_url && name.ends_with("_PORT"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn layers(variables: &[(&str, &str)]) -> Result<Layers, Fatal> {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| (OsString::from(name), value.into()));
        let mut layers = Layers::new();
        push(&mut layers, variables)?;
        Ok(layers)
    }

    fn error(variables: &[(&str, &str)]) -> String {
        layers(variables).unwrap_err().to_string()
    }

    #[test]
    fn sets_keys_at_the_top_and_in_tables() {
        let layers = layers(&[
            ("LEVERET_FRAME_MAX", "8192"),
            ("LEVERET_LOG__LEVEL", "debug"),
            ("LEVERET_CAPABILITIES__BASIC_NACK", "false"),
            ("LEVERET_LISTENERS", "[::1]:5672, 127.0.0.1:0"),
        ]);
        let config = layers.unwrap().build().unwrap();
        assert_eq!(config.frame_max, 8192);
        assert_eq!(config.log.level, "debug");
        assert!(!config.capabilities.basic_nack);
        let listeners = config.listeners.iter().map(ToString::to_string);
        assert_eq!(listeners.collect::<Vec<_>>(), ["[::1]:5672", "127.0.0.1:0"]);
    }

    #[test]
    fn sets_the_users_as_toml() {
        let layers = layers(&[("LEVERET_USERS", "[{name = 'ada', password = 'secret'}]")]);
        let config = layers.unwrap().build().unwrap();
        assert_eq!(config.users[0].name, "ada");
    }

    #[test]
    fn an_unknown_variable_is_named() {
        let text = error(&[("LEVERET_FRAME_MEX", "8192")]);
        assert_eq!(
            text,
            "environment variable LEVERET_FRAME_MEX: there is no such key"
        );
    }

    #[test]
    fn a_bad_value_names_variable_key_value_and_range() {
        let text = error(&[("LEVERET_FRAME_MAX", "big")]);
        assert_eq!(
            text,
            "environment variable LEVERET_FRAME_MAX: frame_max: \"big\" is not allowed, \
             expected a whole number from 4096 to 16777216"
        );
    }

    #[test]
    fn other_variables_and_the_file_variable_are_left_alone() {
        assert!(layers(&[("PATH", "/bin"), ("LEVERET_CONFIG", "a.toml")]).is_ok());
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_left_alone() {
        let links = [
            ("LEVERET_SERVICE_HOST", "10.0.0.1"),
            ("LEVERET_SERVICE_PORT_AMQP", "5672"),
            ("LEVERET_PORT", "tcp://10.0.0.1:5672"),
            ("LEVERET_PORT_5672_TCP_ADDR", "10.0.0.1"),
        ];
        assert!(layers(&links).is_ok());
        assert!(layers(&[("LEVERET_PORT", "5672")]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let variable = (
            "LEVERET_DEFAULT_VHOST".into(),
            OsString::from_vec(vec![0xff]),
        );
        let fatal = push(&mut Layers::new(), std::iter::once(variable)).unwrap_err();
        assert!(fatal.to_string().contains("LEVERET_DEFAULT_VHOST"));
    }
}
