//! What is pushed: one field of a secret that is there, or a secret of a template with that one field.

use keyferry_provider_core::{Blame, Error, ErrorKind, Push, Remote, SecretBytes, json};
use reqwest::Method;
use serde::Deserialize;

use super::secret::{Item, Secret};
use super::{Named, SecretServer, Which};
use crate::client::{Call, Response};
use crate::object::{self, Object};

/// Where a secret is, or is made: `metadata.spec` of a push.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    folder_id: Option<u64>,
    secret_template_id: Option<u64>,
    site_id: Option<u32>,
}

impl Place {
    fn of(remote: &Remote) -> Result<Self, Error> {
        let place: Self = remote.metadata_spec(&["folderId", "secretTemplateId", "siteId"])?;
        Ok(Self { folder_id: place.folder_id.filter(|id| *id > 0), ..place })
    }
}

fn refuse<T>(message: String) -> Result<T, Error> {
    Err(Error::invalid(message).with_blame(Blame::Request))
}

/// The field that a push is for: the first, where it names none.
fn field<'a>(secret: &'a Secret, key: &str, property: Option<&str>) -> Result<&'a Item, Error> {
    match (secret.named(property), property) {
        (Some(item), _) if item.is_file => refuse(format!("field {:?} of secret {key:?} is a file", item.name)),
        (Some(item), _) => Ok(item),
        (None, Some(name)) => refuse(format!("secret {key:?} has no field {name:?}: name one of its template's")),
        (None, None) => refuse(format!("secret {key:?} has no fields")),
    }
}

impl SecretServer {
    /// The secret that is there for a push, as it is found for all that changes it: in the folder that its metadata name.
    pub(super) async fn to_change(&self, remote: &Remote) -> Result<Secret, Error> {
        self.secret(&remote.key, Which::Only(Place::of(remote)?.folder_id)).await
    }

    /// Writes the value of a push.
    pub(super) async fn write(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, .. } = &push.remote;
        let value = push.payload.whole()?;
        object::text(&value)?;
        match self.to_change(&push.remote).await {
            Ok(secret) => {
                let item = field(&secret, key, property.as_deref())?;
                if item.value == value {
                    return Ok(());
                }
                self.put(secret.id, &item.slug, &value, key).await
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(key, property.as_deref(), &value, &Place::of(&push.remote)?).await
            }
            // Nobody tells whether it is there.
            Err(error) if error.kind() == ErrorKind::Denied && !matches!(Named::of(key)?, Named::Name(..)) => {
                Err(error.with_hint("to have a secret made, push to its name"))
            }
            Err(error) => Err(error),
        }
    }

    /// Empties the field that a push wrote, or removes the secret where it was the last that held anything. No push writes a
    /// file.
    pub(super) async fn remove(&self, remote: &Remote) -> Result<(), Error> {
        let secret = self.to_change(remote).await?;
        let item = secret.named(remote.property.as_deref());
        let Some(item) = item.filter(|item| !item.is_file) else { return Ok(()) };
        if secret.items.iter().filter(|other| other.slug != item.slug).any(Item::holds) {
            return self.put(secret.id, &item.slug, &SecretBytes::default(), &remote.key).await;
        }
        let call =
            Call { method: Method::DELETE, ..Call::get("DeleteSecret", format!("api/v1/secrets/{}", secret.id)) };
        self.access.ask(&call, &format!("secret {:?}", remote.key)).await.map(drop)
    }

    /// Writes one field, and leaves the others as they are.
    async fn put(&self, id: u64, slug: &str, value: &SecretBytes, key: &str) -> Result<(), Error> {
        let one = Object::new().text("slug", slug).json("dirty", "true").text("value", object::text(value)?).done();
        let data = Object::new().nested("secretFields", &object::list([&one])).done();
        let body = Object::new().nested("data", &data).done();
        let call = Call::send("UpdateSecret", Method::PATCH, format!("api/v1/secrets/{id}/general"), body);
        self.access.ask(&call, &format!("secret {key:?}")).await.map(drop)
    }

    /// Makes a secret of a template. It must be one that the next push finds by the same key, or each makes another: so that
    /// none is made by path, whose folder need not be the one of the metadata.
    async fn make(&self, key: &str, property: Option<&str>, value: &SecretBytes, place: &Place) -> Result<(), Error> {
        let (name, folder) = match Named::of(key)? {
            Named::Id(_) | Named::Path(_) => {
                return refuse(format!(
                    "there is no secret {key:?}, and none is made by number or path: push to its name, with folderId and secretTemplateId in metadata"
                ));
            }
            Named::Name(name, _) if name.contains('/') => {
                return refuse(format!(
                    "there is no secret {key:?}, and no name has a slash: begin it with a slash for a path, or push to the name alone"
                ));
            }
            Named::Name(name, folder) => (name, folder.or(place.folder_id)),
        };
        let (Some(folder), Some(template)) = (folder, place.secret_template_id) else {
            return refuse(format!(
                "there is no secret {key:?}: set folderId and secretTemplateId in metadata to create a secret"
            ));
        };
        let what = format!("template {template} for secret {key:?}");
        let answer =
            self.access.ask(&Call::get("GetTemplate", format!("api/v1/secret-templates/{template}")), &what).await;
        let answer = answer.map_err(Error::no_reason_to_delete)?;
        let fields = fields_of(&answer).ok_or_else(|| self.access.client().malformed(&answer))?;
        let is_it = |field: &&Field| property.is_none_or(|name| field.slug == name || field.name == name);
        let Some(field) = fields.iter().find(is_it) else {
            return refuse(format!("{what} has no such field"));
        };
        let item = Object::new().json("fieldId", &field.id.to_string()).text("itemValue", object::text(value)?).done();
        let body = Object::new()
            .text("name", name)
            .json("folderId", &folder.to_string())
            .json("secretTemplateId", &template.to_string())
            .json("siteId", &place.site_id.unwrap_or(self.site).to_string())
            .nested("items", &object::list([&item]))
            .done();
        let call = Call::send("CreateSecret", Method::POST, "api/v1/secrets", body);
        self.access.ask(&call, &format!("secret {key:?}")).await.map(drop)
    }
}

/// A field of a template.
struct Field {
    id: u64,
    slug: String,
    name: String,
}

/// Reads `{"fields": [{"secretTemplateFieldId": 1, "fieldSlugName": "...", "name": "..."}]}`.
fn fields_of(answer: &Response) -> Option<Vec<Field>> {
    let fields = json::array(object::at(answer.body.expose(), &["fields"])?.get().as_bytes())?;
    let read = |raw: &serde_json::value::RawValue| {
        let fields = json::object(raw.get().as_bytes())?;
        let text = |name: &str| json::to_bytes(fields.get(name)?).expose_str().map(str::to_owned);
        let id = fields.get("secretTemplateFieldId")?.get().parse().ok()?;
        Some(Field { id, slug: text("fieldSlugName")?, name: text("name").unwrap_or_default() })
    };
    fields.into_iter().map(read).collect()
}
