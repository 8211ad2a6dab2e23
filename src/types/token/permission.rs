//! The operations that a token can permit, sets of them, and what each group of them implies
//! (S2 specification, section 8.2).

use std::fmt;

macro_rules! permissions {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// One operation that a token can permit. The variants and their names are one table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission {
            $($(#[$doc])* $variant,)*
        }

        impl Permission {
            /// All of them, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name as the API spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

permissions! {
    /// See which basins there are.
    ListBasins = "list-basins",
    /// Create a basin.
    CreateBasin = "create-basin",
    /// Delete a basin.
    DeleteBasin = "delete-basin",
    /// Change a basin's configuration.
    ReconfigureBasin = "reconfigure-basin",
    /// See a basin's configuration.
    GetBasinConfig = "get-basin-config",
    /// Issue a token that permits no more than the issuer's own.
    IssueAccessToken = "issue-access-token",
    /// Revoke a token.
    RevokeAccessToken = "revoke-access-token",
    /// See which tokens there are.
    ListAccessTokens = "list-access-tokens",
    /// See which streams a basin has.
    ListStreams = "list-streams",
    /// Create a stream.
    CreateStream = "create-stream",
    /// Delete a stream.
    DeleteStream = "delete-stream",
    /// See a stream's configuration.
    GetStreamConfig = "get-stream-config",
    /// Change a stream's configuration.
    ReconfigureStream = "reconfigure-stream",
    /// See a stream's tail.
    CheckTail = "check-tail",
    /// Append records that are not commands.
    Append = "append",
    /// Read records.
    Read = "read",
    /// Append a command that trims.
    Trim = "trim",
    /// Append a command that sets the fencing token.
    Fence = "fence",
    /// See what the account used.
    AccountMetrics = "account-metrics",
    /// See what a basin used.
    BasinMetrics = "basin-metrics",
    /// See what a stream used.
    StreamMetrics = "stream-metrics",
    /// See which locations there are.
    ListLocations = "list-locations",
    /// See the location of new basins.
    GetDefaultLocation = "get-default-location",
    /// Change the location of new basins.
    SetDefaultLocation = "set-default-location",
}

const _: () = assert!(Permission::ALL.len() <= u32::BITS as usize);

impl Permission {
    /// The operation of this name.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.as_str() == text)
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of operations.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PermissionSet(u32);

impl PermissionSet {
    /// No operation.
    pub const NONE: Self = Self(0);

    /// The set of exactly these.
    #[must_use]
    pub const fn of(permissions: &[Permission]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < permissions.len() {
            bits |= permissions[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | permission.bit())
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it holds this operation.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether it holds everything that `other` does.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What it holds, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

/// Whether a group's reading and writing operations are permitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadWrite {
    /// Those that change nothing.
    pub read: bool,
    /// Those that do.
    pub write: bool,
}

/// Operations permitted by group. Kept as asked for, so that a group extends to operations that
/// are added to it later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpGroups {
    /// On basins and tokens.
    pub account: ReadWrite,
    /// On a basin and its list of streams.
    pub basin: ReadWrite,
    /// On a stream and its records.
    pub stream: ReadWrite,
}

/// What the groups imply today.
///
/// Changing a configuration answers with the whole of it, so who may change one may also look at
/// it: that is why two of the writing groups hold a reading operation.
pub(super) mod group {
    use super::{Permission as P, PermissionSet};

    pub(super) const ACCOUNT_READ: PermissionSet = PermissionSet::of(&[
        P::ListBasins,
        P::ListAccessTokens,
        P::AccountMetrics,
        P::ListLocations,
        P::GetDefaultLocation,
    ]);
    pub(super) const ACCOUNT_WRITE: PermissionSet = PermissionSet::of(&[
        P::CreateBasin,
        P::DeleteBasin,
        P::ReconfigureBasin,
        P::GetBasinConfig,
        P::IssueAccessToken,
        P::RevokeAccessToken,
        P::SetDefaultLocation,
    ]);
    pub(super) const BASIN_READ: PermissionSet =
        PermissionSet::of(&[P::GetBasinConfig, P::ListStreams, P::BasinMetrics]);
    pub(super) const BASIN_WRITE: PermissionSet = PermissionSet::of(&[
        P::CreateStream,
        P::DeleteStream,
        P::ReconfigureStream,
        P::GetStreamConfig,
    ]);
    pub(super) const STREAM_READ: PermissionSet =
        PermissionSet::of(&[P::GetStreamConfig, P::CheckTail, P::Read, P::StreamMetrics]);
    pub(super) const STREAM_WRITE: PermissionSet =
        PermissionSet::of(&[P::Append, P::Trim, P::Fence]);
}

impl OpGroups {
    /// Every group.
    pub const ALL: Self = {
        let both = ReadWrite { read: true, write: true };
        Self { account: both, basin: both, stream: both }
    };

    /// Each half of each group: whether it is permitted, and what it implies.
    fn parts(&self) -> [(bool, PermissionSet); 6] {
        [
            (self.account.read, group::ACCOUNT_READ),
            (self.account.write, group::ACCOUNT_WRITE),
            (self.basin.read, group::BASIN_READ),
            (self.basin.write, group::BASIN_WRITE),
            (self.stream.read, group::STREAM_READ),
            (self.stream.write, group::STREAM_WRITE),
        ]
    }

    /// The operations that the groups imply.
    #[must_use]
    pub fn implied(&self) -> PermissionSet {
        let permitted = self.parts().into_iter().filter(|(is_permitted, _)| *is_permitted);
        permitted.fold(PermissionSet::NONE, |all, (_, implied)| all.union(implied))
    }

    /// Whether it has every group that `other` has: only then does it also have what is added to
    /// those of `other` later.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.parts().iter().zip(other.parts()).all(|((ours, _), (theirs, _))| *ours || !theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_a_bit_of_its_own() {
        let mut all = PermissionSet::NONE;
        for permission in Permission::ALL.iter().copied() {
            assert_eq!(Permission::from_text(permission.as_str()), Some(permission));
            assert!(!all.has(permission), "{permission:?}");
            all = all.with(permission);
            assert_eq!(all.iter().last(), Some(permission));
        }
        assert_eq!(Permission::ALL.len(), 24);
        for text in ["", "Append", "append ", "list_basins", "ListBasins"] {
            assert_eq!(Permission::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_operation_is_in_a_group() {
        let all: PermissionSet = Permission::ALL.iter().copied().collect();
        assert_eq!(OpGroups::ALL.implied(), all);
        assert_eq!(OpGroups::default().implied(), PermissionSet::NONE);
    }

    #[test]
    fn groups_imply_what_the_specification_says() {
        let both_halves = |read, write| ReadWrite { read, write };
        let reading = both_halves(true, false);
        let groups = OpGroups { account: reading, basin: reading, stream: reading };
        let names: Vec<&str> = groups.implied().iter().map(Permission::as_str).collect();
        assert_eq!(
            names,
            [
                "list-basins",
                "get-basin-config",
                "list-access-tokens",
                "list-streams",
                "get-stream-config",
                "check-tail",
                "read",
                "account-metrics",
                "basin-metrics",
                "stream-metrics",
                "list-locations",
                "get-default-location",
            ]
        );
        let stream = OpGroups { stream: both_halves(false, true), ..OpGroups::default() };
        let names: Vec<&str> = stream.implied().iter().map(Permission::as_str).collect();
        assert_eq!(names, ["append", "trim", "fence"]);
    }

    #[test]
    fn a_set_covers_its_subsets_and_nothing_else() {
        use Permission::{Append, Read, Trim};
        let set = PermissionSet::of(&[Append, Read]);
        for (other, expected) in [
            (PermissionSet::NONE, true),
            (PermissionSet::of(&[Append]), true),
            (set, true),
            (PermissionSet::of(&[Trim]), false),
            (set.with(Trim), false),
        ] {
            assert_eq!(set.covers(other), expected, "{other:?}");
        }
    }
}
