//! From JSON to resources, with all that is wrong on the way.

use std::collections::BTreeSet;

use super::age;
use super::tree::Node;
use super::{BasinResource, Resources, StreamResource};
use crate::types::{
    BasinConfig, BasinName, Cipher, PartialStreamConfig, StreamName, TimestampingMode,
};

const BASIN: &[&str] = &["name", "config", "streams"];
const BASIN_CONFIG: &[&str] =
    &["default_stream_config", "stream_cipher", "create_stream_on_append", "create_stream_on_read"];
const STREAM: &[&str] = &["name", "config"];
const STREAM_CONFIG: &[&str] =
    &["storage_class", "retention_policy", "timestamping", "delete_on_empty"];
const TIMESTAMPING: &[&str] = &["mode", "uncapped"];
const DELETE_ON_EMPTY: &[&str] = &["min_age"];

/// Reads a whole file.
///
/// * Errors: everything that is wrong, in the order of the file.
pub(super) fn resources(root: Node) -> Result<Resources, Vec<String>> {
    let mut problems = Problems::default();
    let mut basins = Vec::new();
    // Only here may there be others, `$schema` above all.
    if let Some(mut members) = problems.object("the file", root, None) {
        let nodes = problems.list("basins", members.take("basins"));
        for (index, node) in nodes.into_iter().enumerate() {
            basins.extend(problems.basin(&format!("basins[{index}]"), node));
        }
    }
    problems.refuse_twice("basin", "", basins.iter().map(|basin| basin.name.as_str()));
    if problems.0.is_empty() { Ok(Resources { basins }) } else { Err(problems.0) }
}

/// The members of one object that are not yet taken.
struct Members(Vec<(String, Node)>);

impl Members {
    /// The value of a member; `null` is left to whoever takes it.
    fn take(&mut self, name: &str) -> Option<Node> {
        let index = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// The same, where `null` is as good as nothing.
    fn take_set(&mut self, name: &str) -> Option<Node> {
        self.take(name).filter(|node| *node != Node::Null)
    }
}

/// All that is wrong so far.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, place: &str, problem: impl std::fmt::Display) {
        self.0.push(format!("{place}: {problem}"));
    }

    fn wrong(&mut self, place: &str, expected: &str, found: &Node) {
        self.add(place, format!("must be {expected}, not {}", found.kind()));
    }

    /// The members of an object; with `known`, no others.
    fn object(&mut self, place: &str, node: Node, known: Option<&[&str]>) -> Option<Members> {
        let Node::Object(members) = node else {
            self.wrong(place, "an object", &node);
            return None;
        };
        let mut seen = BTreeSet::new();
        for (name, _) in &members {
            match known {
                Some(known) if !known.contains(&name.as_str()) => {
                    let known = known.join(", ");
                    self.add(place, format!("unknown member {name:?}; there are {known}"));
                }
                None if name != "basins" => {}
                _ if !seen.insert(name) => self.add(place, format!("member {name:?} twice")),
                _ => {}
            }
        }
        Some(Members(members))
    }

    fn list(&mut self, place: &str, node: Option<Node>) -> Vec<Node> {
        match node {
            None => Vec::new(),
            Some(Node::List(list)) => list,
            Some(other) => {
                self.wrong(place, "an array", &other);
                Vec::new()
            }
        }
    }

    /// A text as `read` understands it.
    fn text<T, E: std::fmt::Display>(
        &mut self,
        place: &str,
        node: Option<Node>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match node? {
            Node::Text(text) => match read(&text) {
                Ok(value) => return Some(value),
                Err(problem) => self.add(place, problem),
            },
            other => self.wrong(place, "a string", &other),
        }
        None
    }

    fn flag(&mut self, place: &str, node: Option<Node>) -> Option<bool> {
        match node? {
            Node::Bool(value) => Some(value),
            other => {
                self.wrong(place, "true or false", &other);
                None
            }
        }
    }

    /// The name that an object must have.
    fn name<T, E: std::fmt::Display>(
        &mut self,
        place: &str,
        members: &mut Members,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let node = members.take("name");
        if node.is_none() {
            self.add(place, "needs a name");
        }
        self.text(&format!("{place}.name"), node, read)
    }

    fn basin(&mut self, place: &str, node: Node) -> Option<BasinResource> {
        let mut members = self.object(place, node, Some(BASIN))?;
        let name = self.name(place, &mut members, |text| {
            BasinName::new(text).map_err(|error| format!("{text:?}: {error}"))
        });
        // With its name, if it has one: that is what its owner knows.
        let place = &name.as_ref().map_or_else(|| place.to_owned(), |n| format!("basin {n}"));
        let config = members.take_set("config");
        let config = config
            .map(|node| self.basin_config(&format!("{place}, config"), node))
            .unwrap_or_default();
        let mut streams = Vec::new();
        let nodes = self.list(&format!("{place}, streams"), members.take("streams"));
        for (index, node) in nodes.into_iter().enumerate() {
            streams.extend(self.stream(&format!("{place}, streams[{index}]"), place, node));
        }
        let names = streams.iter().map(|stream: &StreamResource| stream.name.as_str());
        self.refuse_twice("stream", &format!("{place}, "), names);
        Some(BasinResource { name: name?, config, streams })
    }

    fn basin_config(&mut self, place: &str, node: Node) -> BasinConfig {
        let Some(mut members) = self.object(place, node, Some(BASIN_CONFIG)) else {
            return BasinConfig::default();
        };
        let within = |name: &str| format!("{place}.{name}");
        let default = members.take_set("default_stream_config");
        let default = default.map(|n| self.stream_config(&within("default_stream_config"), n));
        let cipher =
            self.text(&within("stream_cipher"), members.take_set("stream_cipher"), |text| {
                Cipher::from_text(text).ok_or("must be aegis-256 or aes-256-gcm")
            });
        let mut flag = |name: &str| {
            let node = members.take_set(name);
            self.flag(&within(name), node).unwrap_or(false)
        };
        BasinConfig {
            default_stream_config: default.unwrap_or_default(),
            stream_cipher: cipher,
            create_stream_on_append: flag("create_stream_on_append"),
            create_stream_on_read: flag("create_stream_on_read"),
        }
    }

    fn stream(&mut self, place: &str, basin: &str, node: Node) -> Option<StreamResource> {
        let mut members = self.object(place, node, Some(STREAM))?;
        let name = self.name(place, &mut members, |text| {
            StreamName::new(text).map_err(|error| format!("{text:?}: {error}"))
        });
        let place = name.as_ref().map_or_else(
            || place.to_owned(),
            |name| format!("{basin}, stream {:?}", name.as_str()),
        );
        let config = members.take_set("config");
        let config = config
            .map(|node| self.stream_config(&format!("{place}, config"), node))
            .unwrap_or_default();
        Some(StreamResource { name: name?, config })
    }

    fn stream_config(&mut self, place: &str, node: Node) -> PartialStreamConfig {
        let Some(mut members) = self.object(place, node, Some(STREAM_CONFIG)) else {
            return PartialStreamConfig::default();
        };
        let within = |name: &str| format!("{place}.{name}");
        let class = members.take_set("storage_class");
        let storage_class =
            self.text(&within("storage_class"), class, |text| Ok::<_, String>(text.to_owned()));
        let retention =
            self.text(&within("retention_policy"), members.take_set("retention_policy"), |text| {
                age::retention(text)
            });
        let (timestamping_mode, timestamping_uncapped) = members
            .take_set("timestamping")
            .map(|node| self.timestamping(&within("timestamping"), node))
            .unwrap_or_default();
        let delete_on_empty_min_age_secs = members
            .take_set("delete_on_empty")
            .and_then(|node| self.delete_on_empty(&within("delete_on_empty"), node));
        let config = PartialStreamConfig {
            storage_class,
            retention,
            timestamping_mode,
            timestamping_uncapped,
            delete_on_empty_min_age_secs,
        };
        // What a request would be refused for.
        if let Err(error) = config.validate() {
            self.add(place, error);
        }
        config
    }

    fn timestamping(
        &mut self,
        place: &str,
        node: Node,
    ) -> (Option<TimestampingMode>, Option<bool>) {
        let Some(mut members) = self.object(place, node, Some(TIMESTAMPING)) else {
            return (None, None);
        };
        let mode = members.take_set("mode");
        let mode = self.text(&format!("{place}.mode"), mode, |text| {
            TimestampingMode::from_text(text)
                .ok_or("must be client-prefer, client-require or arrival")
        });
        (mode, self.flag(&format!("{place}.uncapped"), members.take_set("uncapped")))
    }

    fn delete_on_empty(&mut self, place: &str, node: Node) -> Option<u64> {
        let mut members = self.object(place, node, Some(DELETE_ON_EMPTY))?;
        let age = members.take_set("min_age");
        self.text(&format!("{place}.min_age"), age, age::age_secs)
    }

    fn refuse_twice<'a>(&mut self, what: &str, before: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                self.0.push(format!("{before}{what} {name:?} is there twice"));
            }
        }
    }
}
