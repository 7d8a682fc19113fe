//! What a watch says, told to the index. Called by `mesh_watch`, under the index's lock.

use crate::index::{Index, Kind};

impl<K: Kind> mesh_watch::Index<K> for Index {
    fn apply(&mut self, object: K) {
        Index::apply(self, &object);
    }

    fn delete(&mut self, namespace: Option<&str>, name: &str) {
        Index::delete::<K>(self, namespace.unwrap_or_default(), name);
    }

    fn reset(&mut self, objects: Vec<K>) {
        Index::reset(self, &objects);
    }
}
