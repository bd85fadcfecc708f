//! [`lean`]: decodes a JSON value within a bound of memory, and leaves out what nobody reads.
//!
//! A decoded value takes far more memory than its text: two bytes of a list of numbers become 72, and a body of 4 MiB
//! some 150 MB. So each part is charged what it takes before it is kept. What is left out is skipped, never decoded.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most memory of a decoded pod, in bytes: some 10,000 variables of containers, or 30,000 other fields.
pub(super) const POD_BYTES: usize = 6 << 20;

/// The most containers of a pod, init containers included: the patch, which goes out with each answer, grows with them.
pub(super) const MAX_CONTAINERS: usize = 256;

/// Longer strings are cut. They are only compared with shorter ones, and named in messages.
pub(super) const MAX_STRING: usize = 4 << 10;

/// Memory of an item in a list. Lists grow by doubling, and what they outgrow is still there meanwhile.
const ITEM_BYTES: usize = 3 * size_of::<Value>();

/// Memory of a field in an object beside its value: hash, name and index, with the same reserve.
const FIELD_BYTES: usize = 2 * (size_of::<Value>() + size_of::<String>() + 16);

/// Memory of an allocation beside its content.
const ALLOCATION_BYTES: usize = 32;

/// A part of a review, by which it is decided what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A pod, of which only names and labels are kept.
    Head,
    /// Its metadata.
    HeadMetadata,
    /// A pod, of which all is kept that may matter for injection.
    Pod,
    /// Its metadata.
    PodMetadata,
    /// Its spec.
    PodSpec,
    /// Its containers or init containers.
    Containers,
    /// All is kept.
    Whole,
}

impl Part {
    /// What the field of this name is; `None` if nobody reads it.
    fn field(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Head, "metadata") => Some(Self::HeadMetadata),
            (Self::HeadMetadata, "name" | "generateName" | "labels") => Some(Self::Whole),
            (Self::Head | Self::HeadMetadata, _) | (Self::Pod, "status") | (Self::PodMetadata, "managedFields") => None,
            (Self::Pod, "metadata") => Some(Self::PodMetadata),
            (Self::Pod, "spec") => Some(Self::PodSpec),
            (Self::PodSpec, "containers" | "initContainers") => Some(Self::Containers),
            _ => Some(Self::Whole),
        }
    }
}

/// Decodes a part of a review.
///
/// # Errors
///
/// It is not JSON, or exceeds a bound; the message names the bound.
pub(super) fn lean<'de, D: Deserializer<'de>>(part: Part, deserializer: D) -> Result<Value, D::Error> {
    let account = Account { bytes: Cell::new(POD_BYTES), containers: Cell::new(MAX_CONTAINERS) };
    Lean { part, account: &account }.deserialize(deserializer)
}

/// What may still be kept.
struct Account {
    bytes: Cell<usize>,
    containers: Cell<usize>,
}

impl Account {
    fn charge<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.bytes.get().checked_sub(bytes);
        let left = left.ok_or_else(|| {
            let limit = POD_BYTES >> 20;
            E::custom(format_args!(
                "the pod would take more than {limit} MiB of the webhook's memory: use fewer environment variables, \
                 mounts and other fields (a ConfigMap can hold many variables)"
            ))
        })?;
        self.bytes.set(left);
        Ok(())
    }

    fn count_container<E: Error>(&self) -> Result<(), E> {
        let left = self.containers.get().checked_sub(1).ok_or_else(|| {
            E::custom(format_args!("the pod has more than {MAX_CONTAINERS} containers: use several pods"))
        })?;
        self.containers.set(left);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Lean<'a> {
    part: Part,
    account: &'a Account,
}

impl<'de> DeserializeSeed<'de> for Lean<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lean<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        let value = &value[..value.floor_char_boundary(MAX_STRING)];
        self.account.charge(ALLOCATION_BYTES + value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let Self { part, account } = self;
        account.charge(ALLOCATION_BYTES)?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(Lean { part: Part::Whole, account })? {
            account.charge(ITEM_BYTES)?;
            if part == Part::Containers {
                account.count_container()?;
            }
            items.push(item);
        }
        items.shrink_to_fit();
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Self { part, account } = self;
        account.charge(2 * ALLOCATION_BYTES)?;
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match part.field(&name).filter(|_| name.len() <= MAX_STRING) {
                Some(part) => {
                    account.charge(FIELD_BYTES + ALLOCATION_BYTES + name.len())?;
                    fields.push((name, map.next_value_seed(Lean { part, account })?));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        // At once, for its exact size.
        Ok(Value::Object(fields.into_iter().collect::<Map<_, _>>()))
    }
}
