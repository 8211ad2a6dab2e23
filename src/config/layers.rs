//! Where each setting came from: one precedence, and the way to read the file again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::names::described;
use super::{ConfigError, Given, LogFilter, ROOT_TOKEN, ROOT_TOKEN_VARIABLE, Settings};

/// Who said what a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This flag.
    Flag(String),
    /// This environment variable.
    Environment(String),
    /// This file.
    File(PathBuf),
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Settings in force and where they came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The source of each, by name.
    pub sources: BTreeMap<String, Source>,
}

/// What the command line and the environment say, over what a file says.
#[derive(Debug, Clone)]
pub struct Layers {
    given: Given,
    sources: BTreeMap<String, Source>,
    file: Option<PathBuf>,
    cores: u16,
    notes: Vec<String>,
}

/// Whether a switch of S2 Lite's is on with this value, which is not empty.
pub(super) fn is_yes(value: &OsStr) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    !["0", "n", "no", "f", "false", "off"].contains(&&*value)
}

impl Layers {
    /// Takes what was given on the command line and in the environment, the variables of other
    /// servers and tools too, where ours are silent. `variable` looks up one of the environment.
    #[must_use]
    pub fn new(
        given: Given,
        matches: &ArgMatches,
        file: Option<PathBuf>,
        cores: u16,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let mut sources = BTreeMap::new();
        for setting in described() {
            let source = match matches.value_source(&setting.name) {
                Some(ValueSource::CommandLine) => Source::Flag(setting.flag),
                Some(ValueSource::EnvVariable) => Source::Environment(setting.variable),
                _ => continue,
            };
            sources.insert(setting.name, source);
        }
        let mut layers = Self { given, sources, file, cores, notes: Vec::new() };
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        layers.borrow_variables(variable);
        if variable(ROOT_TOKEN_VARIABLE).is_some() {
            let source = Source::Environment(ROOT_TOKEN_VARIABLE.to_owned());
            layers.sources.insert(ROOT_TOKEN.to_owned(), source);
        }
        layers
    }

    fn borrow_variables(&mut self, variable: impl Fn(&str) -> Option<OsString>) {
        const INIT_FILE: &str = "S2LITE_INIT_FILE";
        const NO_DASHBOARD: &str = "S2LITE_NO_DASHBOARD";
        const LOG: &str = "RUST_LOG";
        let from = |name: &str| Source::Environment(name.to_owned());
        if self.given.init_file.is_none()
            && let Some(path) = variable(INIT_FILE)
        {
            self.given.init_file = Some(path.into());
            self.sources.insert("init_file".to_owned(), from(INIT_FILE));
        }
        if self.given.no_dashboard.is_none()
            && variable(NO_DASHBOARD).is_some_and(|value| is_yes(&value))
        {
            self.given.no_dashboard = Some(true);
            self.sources.insert("no_dashboard".to_owned(), from(NO_DASHBOARD));
        }
        if self.given.log_level.is_none()
            && let Some(text) = variable(LOG)
        {
            // It may be meant for another program.
            let text = text.to_string_lossy().into_owned();
            match LogFilter::new(&text) {
                Ok(_) => {
                    self.given.log_level = Some(text);
                    self.sources.insert("log_level".to_owned(), from(LOG));
                }
                Err(error) => self.notes.push(format!("{LOG} is ignored: {error}")),
            }
        }
    }

    /// What the operator should know of what was given, and is no error.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The file that settings are read from, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }

    /// Reads the file, if there is one, and puts everything together.
    ///
    /// * Errors: [`ConfigError`].
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut sources = self.sources.clone();
        let mut given = self.given.clone();
        if let Some(path) = &self.file {
            let mut file = Given::from_file(path)?;
            // Who says an address above the file means its port, too.
            if given.listen.is_some() && given.port.is_none() {
                file.port = None;
            }
            for name in file.table()?.keys() {
                sources.entry(name.clone()).or_insert_with(|| Source::File(path.clone()));
            }
            given = given.or(file);
        }
        // What they make together is said by both.
        if let Some(port) = sources.get("port").cloned() {
            sources.entry("listen".to_owned()).or_insert(port);
        } else if let Some(listen) = sources.get("listen").cloned() {
            sources.insert("port".to_owned(), listen);
        }
        let settings = Settings::from(given, self.cores)?;
        for setting in described() {
            sources.entry(setting.name).or_insert(Source::Default);
        }
        Ok(Loaded { settings, sources })
    }
}
