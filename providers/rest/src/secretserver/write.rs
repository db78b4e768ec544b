//! What is pushed: one field of a secret that is there, or a secret of a template with that one field.

use keyferry_provider_core::{Blame, Error, ErrorKind, Push, Remote, SecretBytes, json};
use reqwest::Method;
use serde::Deserialize;

use super::secret::{Item, Secret};
use super::{Named, SecretServer};
use crate::client::{Call, Response};
use crate::object::{self, Object};

/// Where a secret is made: `metadata.spec` of a push.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    folder_id: Option<u64>,
    secret_template_id: Option<u64>,
    site_id: Option<u32>,
}

fn refuse<T>(message: String) -> Result<T, Error> {
    Err(Error::invalid(message).with_blame(Blame::Request))
}

/// The field that a push is for: the first, where it names none.
fn field<'a>(secret: &'a Secret, key: &str, property: Option<&str>) -> Result<&'a Item, Error> {
    let (item, what) = match property {
        Some(name) => (secret.item(name), format!("secret {key:?} has no field {name:?}")),
        None => (secret.items.first(), format!("secret {key:?} has no fields")),
    };
    match item {
        Some(item) if item.is_file => refuse(format!("field {:?} of secret {key:?} is a file", item.name)),
        Some(item) => Ok(item),
        None => refuse(format!("{what}: name one of its template's")),
    }
}

impl SecretServer {
    /// Writes the value of a push.
    pub(super) async fn write(&self, push: &Push) -> Result<(), Error> {
        let Remote { key, property, .. } = &push.remote;
        let place: Place = push.remote.metadata_spec(&["folderId", "secretTemplateId", "siteId"])?;
        let value = push.payload.whole()?;
        object::text(&value)?;
        let folder = place.folder_id.filter(|id| *id > 0);
        match self.secret(key, folder).await {
            Ok(secret) => {
                let item = field(&secret, key, property.as_deref())?;
                if item.value == value {
                    return Ok(());
                }
                self.put(secret.id, &item.slug, &value, key).await
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(key, property.as_deref(), &value, &place).await
            }
            Err(error) => Err(error),
        }
    }

    /// Empties a field, or removes the secret where it was the last that held anything.
    pub(super) async fn remove(&self, remote: &Remote) -> Result<(), Error> {
        let secret = self.secret(&remote.key, None).await?;
        if let Some(name) = remote.property.as_deref() {
            let Some(item) = secret.item(name) else { return Ok(()) };
            let is_other = |other: &&Item| other.slug != item.slug;
            let holds = |other: &Item| other.has_file || (!other.is_file && !other.value.is_empty());
            if secret.items.iter().filter(is_other).any(holds) {
                return self.put(secret.id, &item.slug, &SecretBytes::default(), &remote.key).await;
            }
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

    async fn make(&self, key: &str, property: Option<&str>, value: &SecretBytes, place: &Place) -> Result<(), Error> {
        let name = match Named::of(key)? {
            Named::Id(id) => {
                return refuse(format!("there is no secret {id}, and none can be made by number: push to a name"));
            }
            Named::Path(name) | Named::Name(name) => name.rsplit('/').next().unwrap_or_default(),
        };
        let (Some(folder), Some(template)) = (place.folder_id, place.secret_template_id) else {
            return refuse(format!(
                "there is no secret {key:?}: set folderId and secretTemplateId in metadata to create a secret"
            ));
        };
        if name.is_empty() {
            return refuse(format!("the key {key:?} ends with a slash, and names no secret"));
        }
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
