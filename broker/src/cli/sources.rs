//! Gathers the sources of a configuration in the order of their strength: file, environment,
//! command line.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

use leveret::Config;
use leveret::config::{Layers, Origin};

use super::arguments::Options;
use super::{Fatal, environment, log};

/// What the binary does differently from the library unless it is told otherwise: it keeps its data.
const DEFAULTS: &str = "data_dir = \"./leveret-data\"";

/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "leveret.toml";

/// The sources of one configuration.
#[derive(Debug, Default)]
pub(super) struct Sources {
    layers: Layers,
}

impl Sources {
    /// The sources of this process.
    ///
    /// # Errors
    /// A source cannot be read, or by itself holds something that is not allowed.
    pub(super) fn of_process(options: &Options) -> Result<Self, Fatal> {
        Self::new(options, std::env::vars_os())
    }

    /// One file and nothing else.
    ///
    /// # Errors
    /// It cannot be read, or holds something that is not allowed.
    pub(super) fn of_file(file: &Path) -> Result<Self, Fatal> {
        let mut sources = Self::default();
        sources.push_file(file)?;
        Ok(sources)
    }

    /// The configuration they make together.
    ///
    /// # Errors
    /// The first thing in the whole that is not allowed.
    pub(super) fn config(&self) -> Result<Config, Fatal> {
        let config = self.layers.build()?;
        let level = &config.log.level;
        log::filter(level).map_err(|allowed| {
            let shown = format!("{level:?}");
            self.layers.refuse("log.level", &shown, &allowed)
        })?;
        Ok(config)
    }

    fn new(
        options: &Options,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Fatal> {
        let mut sources = Self::default();
        sources.layers.push_document(None, DEFAULTS)?;
        match &options.config {
            Some(file) => sources.push_file(file)?,
            None => sources.push_default_file()?,
        }
        environment::push(&mut sources.layers, variables)?;
        sources.push_options(options)?;
        Ok(sources)
    }

    fn push_default_file(&mut self) -> Result<(), Fatal> {
        match self.push_file(Path::new(DEFAULT_FILE)) {
            Err(Fatal::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn push_file(&mut self, file: &Path) -> Result<(), Fatal> {
        let name = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(self.layers.push_document(Some(&name), &text)?),
            Err(source) => Err(Fatal::File { file: name, source }),
        }
    }

    fn push_options(&mut self, options: &Options) -> Result<(), Fatal> {
        if !options.listen.is_empty() {
            self.push_option("--listen", "listeners", &options.listen.join(","))?;
        }
        match (&options.data_dir, options.ephemeral) {
            (Some(_), true) => return Err(Fatal::KeepAndNot),
            (Some(directory), false) => {
                self.push_option("--data-dir", "data_dir", directory)?;
            }
            (None, true) => self.push_option("--ephemeral", "data_dir", "")?,
            (None, false) => {}
        }
        if let Some(level) = &options.log_level {
            self.push_option("--log-level", "log.level", level)?;
        }
        if let Some(format) = &options.log_format {
            self.push_option("--log-format", "log.format", format)?;
        }
        options.set.iter().try_for_each(|text| self.push_set(text))
    }

    /// An error names the key but not the value of `--set`, which may hold a password, nor what may be meant as
    /// one.
    fn push_set(&mut self, text: &str) -> Result<(), Fatal> {
        match text.split_once('=') {
            Some((key, value)) => self.push_option("--set", key.trim(), value),
            None => Err(Fatal::Set {
                key: key_in(text).to_owned(),
            }),
        }
    }

    fn push_option(&mut self, option: &str, key: &str, value: &str) -> Result<(), Fatal> {
        let option = option.to_owned();
        let origin = Origin::CommandLine { option };
        Ok(self.layers.push_value(origin, key, value)?)
    }
}

/// What of a text can be a key.
fn key_in(text: &str) -> &str {
    let is_of_key = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '.');
    let end = text.find(|one| !is_of_key(one));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}
