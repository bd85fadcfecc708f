//! Tensors in and out by DLPack, the protocol by which array libraries share memory: `__dlpack__` makes a capsule with
//! the address, type, shape and strides of a tensor, and a function that ends its use.
//!
//! [`abi`] has the structures of both versions, [`borrow`] takes tensors of others, [`lend`] lends frames as tensors.
//!
//! Source: `dlpack.h` 1.1, and <https://dmlc.github.io/dlpack/latest/python_spec.html>.

mod abi;
mod borrow;
mod lend;

pub(crate) use borrow::{Borrowed, is_tensor};
pub(crate) use lend::{Lends, Request, device, lend};
