//! The JSON form of scopes, both directions (S2 specification, section 8.1), and of tokens in the
//! log.
//!
//! * In: every member may be absent or `null`, which permits nothing; unknown members are ignored,
//!   except beside the one key of a resource set, where they would widen or narrow it unseen.
//! * Out: every member is present, groups and operations in full; a set of nothing is `null`.
//!
//! The log keeps this form, so what is written here must be read back as the same value.

use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    OpGroups, Permission, PermissionSet, ReadWrite, ResourceSet, Scope, TokenId, TokenInfo,
};
use crate::types::json::{object, object_or_null};
use crate::types::name::{BasinName, NameError, StreamName};

/// A set as a request spells it: exactly one of the two keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetForm {
    exact: Option<String>,
    prefix: Option<String>,
}

/// The set that a form spells, once its text is known to be of the kind that it is about.
fn set_of(
    form: Option<SetForm>,
    check_name: impl Fn(&str) -> Result<(), NameError>,
    check_prefix: impl Fn(&str) -> Result<(), NameError>,
) -> Result<ResourceSet, &'static str> {
    let Some(SetForm { exact, prefix }) = form else { return Ok(ResourceSet::Nothing) };
    match (exact, prefix) {
        (Some(exact), None) if exact.is_empty() => Ok(ResourceSet::Nothing),
        (Some(exact), None) => {
            check_name(&exact).map_err(|error| error.0)?;
            Ok(ResourceSet::Exact(exact.into()))
        }
        (None, Some(prefix)) => {
            check_prefix(&prefix).map_err(|error| error.0)?;
            Ok(ResourceSet::Prefix(prefix.into()))
        }
        _ => Err("a resource set must be {\"exact\":name} or {\"prefix\":text}"),
    }
}

impl Serialize for ResourceSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "lowercase")]
        enum Form<'a> {
            Exact(&'a str),
            Prefix(&'a str),
        }
        match self {
            Self::Nothing => None,
            Self::Exact(exact) => Some(Form::Exact(exact)),
            Self::Prefix(prefix) => Some(Form::Prefix(prefix)),
        }
        .serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct GroupForm {
    read: Option<bool>,
    write: Option<bool>,
}

impl From<ReadWrite> for GroupForm {
    fn from(group: ReadWrite) -> Self {
        Self { read: Some(group.read), write: Some(group.write) }
    }
}

/// Absent and `null` permit nothing.
fn group(form: Option<GroupForm>) -> ReadWrite {
    let form = form.unwrap_or(GroupForm { read: None, write: None });
    ReadWrite { read: form.read.unwrap_or_default(), write: form.write.unwrap_or_default() }
}

#[derive(Serialize, Deserialize)]
struct GroupsForm {
    #[serde(default, deserialize_with = "object_or_null")]
    account: Option<GroupForm>,
    #[serde(default, deserialize_with = "object_or_null")]
    basin: Option<GroupForm>,
    #[serde(default, deserialize_with = "object_or_null")]
    stream: Option<GroupForm>,
}

impl From<GroupsForm> for OpGroups {
    fn from(form: GroupsForm) -> Self {
        Self { account: group(form.account), basin: group(form.basin), stream: group(form.stream) }
    }
}

impl Serialize for OpGroups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = GroupsForm {
            account: Some(self.account.into()),
            basin: Some(self.basin.into()),
            stream: Some(self.stream.into()),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).ok_or_else(|| D::Error::custom("unknown operation in ops"))
    }
}

impl Serialize for PermissionSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Permission::as_str))
    }
}

#[derive(Deserialize)]
struct ScopeForm {
    #[serde(default, deserialize_with = "object_or_null")]
    basins: Option<SetForm>,
    #[serde(default, deserialize_with = "object_or_null")]
    streams: Option<SetForm>,
    #[serde(default, deserialize_with = "object_or_null")]
    access_tokens: Option<SetForm>,
    #[serde(default, deserialize_with = "object_or_null")]
    op_groups: Option<GroupsForm>,
    ops: Option<Vec<Permission>>,
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form: ScopeForm = object(deserializer)?;
        let basin = |text: &str| BasinName::new(text).map(drop);
        let stream = |text: &str| StreamName::new(text).map(drop);
        let token = |text: &str| TokenId::new(text).map(drop);
        let basins = set_of(form.basins, basin, BasinName::check_prefix);
        let streams = set_of(form.streams, stream, StreamName::check_prefix);
        let access_tokens = set_of(form.access_tokens, token, TokenId::check_prefix);
        Ok(Self {
            basins: basins.map_err(D::Error::custom)?,
            streams: streams.map_err(D::Error::custom)?,
            access_tokens: access_tokens.map_err(D::Error::custom)?,
            op_groups: form.op_groups.map(OpGroups::from).unwrap_or_default(),
            ops: form.ops.unwrap_or_default().into_iter().collect(),
        })
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_struct("Scope", 5)?;
        form.serialize_field("basins", &self.basins)?;
        form.serialize_field("streams", &self.streams)?;
        form.serialize_field("access_tokens", &self.access_tokens)?;
        form.serialize_field("op_groups", &self.op_groups)?;
        form.serialize_field("ops", &self.ops)?;
        form.end()
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(|error| D::Error::custom(error.0))
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A token in the log; the wire spells its time differently (`api::token`).
#[derive(Serialize, Deserialize)]
struct TokenForm {
    id: TokenId,
    expires_us: Option<u64>,
    auto_prefix_streams: bool,
    scope: Scope,
}

impl<'de> Deserialize<'de> for TokenInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TokenForm { id, expires_us, auto_prefix_streams, scope } = object(deserializer)?;
        Ok(Self { id, expires_us, auto_prefix_streams, scope })
    }
}

impl Serialize for TokenInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = TokenForm {
            id: self.id.clone(),
            expires_us: self.expires_us,
            auto_prefix_streams: self.auto_prefix_streams,
            scope: self.scope.clone(),
        };
        form.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
