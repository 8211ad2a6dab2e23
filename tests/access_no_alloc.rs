//! Letting a request in takes no memory, with a token or without: proven by counting what this
//! thread allocates.

use thalweg::api::access::{authorize, check_batch};
use thalweg::api::credential::{bearer, is_public};
use thalweg::api::{Headers, Operation, Parts, route};
use thalweg::auth::secret::HashKey;
use thalweg::auth::{Access, Grant};
use thalweg::types::token::OpGroups;
use thalweg::types::{AppendBuilder, ResourceSet, Scope, Span, TokenId, TokenInfo};

#[path = "common/counting.rs"]
mod counting;

use counting::allocations;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = allocations().count;
    work();
    allocations().count - before
}

struct Fields(&'static [(&'static str, &'static str)]);

impl Headers for Fields {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        let of_name = self.0.iter().filter(|(known, _)| *known == name);
        of_name.for_each(|(_, value)| each(value.as_bytes()));
    }
}

const APPEND: Fields = Fields(&[
    ("authorization", "Bearer tw_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ("content-type", "application/json"),
    ("s2-basin", "test-basin-1"),
]);

fn token(streams: &str) -> Access {
    let set = |prefix: &str| ResourceSet::Prefix(prefix.into());
    let scope = Scope {
        basins: set("test-"),
        streams: set(streams),
        op_groups: OpGroups::ALL,
        ..Scope::default()
    };
    let id = TokenId::new("t").expect("legal");
    let info = TokenInfo { id, expires_us: None, auto_prefix_streams: false, scope };
    Access::Token(Grant::new(info))
}

#[test]
fn an_append_is_let_in_without_an_allocation() {
    let key = HashKey::from_bytes([1; 32]);
    let hash = key.hash(b"another");
    let parts =
        Parts { method: "POST", path: "/v1/streams/s/records", query: None, headers: &APPEND };
    let operation = || route(&parts).expect("legal");
    let mut builder = AppendBuilder::default();
    builder.push_record(b"x", None, Span { offset: 0, len: 1 }).expect("legal");
    let batch = builder.finish(b"x".to_vec(), None, None).expect("not empty");

    assert!(allocations_of(|| drop(token("s"))) > 0, "allocations are counted");
    for access in [Access::Open, Access::Root, token("s")] {
        let count = allocations_of(|| {
            assert!(!is_public(&parts));
            let presented = key.hash(bearer(parts.headers).expect("well formed"));
            assert!(presented != hash);
            let held = access.clone();
            let mut asked = operation();
            authorize(&held, &mut asked).expect("permitted");
            assert!(matches!(asked, Operation::Append { .. }));
            assert_eq!(check_batch(&held, &batch), Ok(()));
        });
        assert_eq!(count, 0, "{access:?}");
    }
    assert!(authorize(&token("other"), &mut operation()).is_err(), "it is looked at");
}
