//! From keys to names of resources. What a user writes becomes one segment of a path, or nothing.

use keyferry_provider_core::{Blame, Error, ErrorKind};

/// Where secrets are: `projects/P`, or `projects/P/locations/L`.
#[derive(Clone, Debug)]
pub struct Parent {
    name: String,
}

/// A secret, whether or not there is one.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its resource's name, which is its path below `v1/` too.
    pub resource: String,
    /// The id that it has there: what the user wrote.
    pub id: String,
}

impl Parent {
    /// Of names that are known to be segments.
    pub fn new(project: &str, location: Option<&str>) -> Self {
        let name = match location {
            Some(location) => format!("projects/{project}/locations/{location}"),
            None => format!("projects/{project}"),
        };
        Self { name }
    }

    /// The name of the collection of secrets.
    pub fn secrets(&self) -> String {
        format!("{}/secrets", self.name)
    }

    /// The secret of this name.
    ///
    /// # Errors
    /// `Invalid` where no secret can have it.
    pub fn secret(&self, id: &str) -> Result<Place, Error> {
        if is_id(id, 255) {
            Ok(Place { resource: format!("{}/{id}", self.secrets()), id: id.to_owned() })
        } else {
            let message = format!(
                "{id:?} is not a name that a secret of Google Secret Manager can have: letters, digits, - and _, at most \
                 255 of them, and neither project nor version"
            );
            Err(Error::invalid(message).with_blame(Blame::Request))
        }
    }
}

impl Place {
    /// A version of it, `None` the last, as it is named in a path.
    ///
    /// # Errors
    /// `NoVersion` where no version can be called so.
    pub fn version(&self, version: Option<&str>) -> Result<String, Error> {
        let version = version.unwrap_or("latest");
        if is_id(version, 63) {
            Ok(format!("{}/versions/{version}", self.resource))
        } else {
            let message = format!(
                "the version {version:?} of secret {:?} is neither a number nor an alias: without a version the last is \
                 read",
                self.id
            );
            Err(Error::new(ErrorKind::NoVersion, message))
        }
    }
}

/// The last segment of a resource's name: ids of secrets and versions.
pub fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

/// Whether secrets, and versions by number or alias, can have this id.
fn is_id(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_a_project_and_may_have_a_location() {
        let of = |location| {
            let place = Parent::new("p-1", location).secret("app_1").unwrap();
            (place.resource.clone(), place.version(None).unwrap(), place.version(Some("7")).unwrap())
        };
        let all = "projects/p-1/secrets/app_1";
        assert_eq!(of(None), (all.into(), format!("{all}/versions/latest"), format!("{all}/versions/7")));
        assert_eq!(of(Some("eu")).0, "projects/p-1/locations/eu/secrets/app_1");
        assert_eq!(last("projects/1/secrets/a/versions/3"), "3");
    }

    #[test]
    fn nothing_that_a_user_writes_leads_to_another_resource() {
        let parent = Parent::new("p", None);
        let long = "a".repeat(256);
        for id in ["", "..", "a/versions/1", "a:access", "a?x", "a%2fb", "a b", "ä", "a\nb", &long] {
            let error = parent.secret(id).unwrap_err();
            assert_eq!((error.kind(), error.blame()), (ErrorKind::Invalid, Blame::Request), "{id}");
            let version = parent.secret("a").unwrap().version(Some(id));
            assert_eq!(version.map_err(|error| error.kind()), Err(ErrorKind::NoVersion), "{id}");
        }
        assert!(parent.secret(&"a".repeat(255)).is_ok());
    }
}
