//! What generators made for whom, as the watch of GeneratorStates tells: the ExternalSecrets that it was made for ask. Pure.

use std::collections::HashMap;

use keyferry_crds::GeneratorState;
use keyferry_sync::dependency::Name;
use keyferry_sync::states::KnownState;

/// What generators made, by whom it was made for: what ExternalSecrets are told.
#[derive(Debug, Default)]
pub struct Generated(HashMap<Name, HashMap<String, KnownState>>);

impl Generated {
    /// Takes one, new or changed.
    pub fn put(&mut self, namespace: &str, state: &GeneratorState) {
        if let Some((owner, known)) = KnownState::of(state) {
            self.0.entry((namespace.to_owned(), owner)).or_default().insert(known.name.clone(), known);
        }
    }

    /// Forgets one.
    pub fn remove(&mut self, namespace: &str, state: &GeneratorState) {
        let Some((owner, known)) = KnownState::of(state) else { return };
        let owner = (namespace.to_owned(), owner);
        if let Some(all) = self.0.get_mut(&owner) {
            all.remove(&known.name);
            if all.is_empty() {
                self.0.remove(&owner);
            }
        }
    }

    /// Of the ExternalSecret of this name and UID.
    pub fn of(&self, owner: &Name, uid: Option<&str>) -> Vec<KnownState> {
        let all = self.0.get(owner).into_iter().flat_map(HashMap::values);
        all.filter(|state| Some(state.owner.as_str()) == uid).cloned().collect()
    }
}
