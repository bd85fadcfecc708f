//! [`Lookup`]: finds the `FrameBuffer` that a pod names.

use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};

use crate::api::FrameBuffer;

/// Finds `FrameBuffer`s in memory, where a watch keeps them up to date.
#[derive(Clone)]
pub struct Lookup {
    store: Store<FrameBuffer>,
    client: Client,
}

impl Lookup {
    /// Looks up in `store`, which the caller fills, and then asks the API server.
    pub fn new(store: Store<FrameBuffer>, client: Client) -> Self {
        Self { store, client }
    }

    /// The `FrameBuffer`; `None` if there is none. If it is not in memory, the API server is asked: it may have just
    /// been created, together with the pod.
    ///
    /// # Errors
    ///
    /// The API server could not be asked.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<Arc<FrameBuffer>>, kube::Error> {
        if let Some(framebuffer) = self.store.get(&ObjectRef::new(name).within(namespace)) {
            return Ok(Some(framebuffer));
        }
        // A label may have a value that is no valid name, and the name becomes part of the request's path.
        if !is_name(name) {
            return Ok(None);
        }
        let api: Api<FrameBuffer> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.get_opt(name).await?.map(Arc::new))
    }
}

fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let (first, last) = (part.as_bytes().first(), part.as_bytes().last());
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        edge(first) && edge(last) && part.bytes().all(inner)
    };
    name.split('.').all(part)
}
