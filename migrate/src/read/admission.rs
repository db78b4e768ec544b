//! Webhook configurations, and who answers them.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keyferry_cluster::pages;
use keyferry_cluster::problem::timely;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;

use super::{Reader, label, list, text};
use crate::facts::{Area, Backend, Webhook, WebhookConfiguration};

/// What External Secrets Operator's chart calls its configurations, whatever the release.
const NAMES: [&str; 2] = ["secretstore-validate", "externalsecret-validate"];

impl Reader {
    pub(super) async fn webhooks(&mut self) {
        let kinds = [
            (false, ApiResource::erase::<ValidatingWebhookConfiguration>(&()), "ValidatingWebhookConfigurations"),
            (true, ApiResource::erase::<MutatingWebhookConfiguration>(&()), "MutatingWebhookConfigurations"),
        ];
        for (mutating, resource, what) in kinds {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let mut found = Vec::new();
            let listed = pages::all(&api, ListParams::default(), |object| {
                let configuration = facts(mutating, &object);
                if configuration.matching().next().is_some() {
                    found.push((configuration, object.data));
                }
            });
            if let Err(problem) = listed.await {
                self.unread(Area::Webhooks, what, &problem);
            }
            for (mut configuration, data) in found {
                for (hook, raw) in configuration.hooks.iter_mut().zip(list(&data, "/webhooks")) {
                    hook.backend = self.backend(raw).await;
                }
                self.cluster.webhooks.push(configuration);
            }
        }
    }

    /// Who answers a webhook with this `clientConfig`.
    pub(super) async fn backend(&mut self, hook: &Value) -> Backend {
        let config = &hook["clientConfig"];
        let (namespace, name) = (text(config, "/service/namespace"), text(config, "/service/name"));
        if name.is_empty() {
            return Backend::Unknown("a URL".to_owned());
        }
        let service = format!("service {namespace}/{name}");
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        match timely(api.get_metadata_opt(name)).await {
            Ok(None) => return Backend::Dead(service, "it does not exist"),
            Ok(Some(_)) => {}
            Err(problem) => {
                self.unread(Area::Webhooks, service.clone(), &problem);
                return Backend::Unknown(service);
            }
        }
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let mut ready = false;
        let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let listed = pages::all(&api, params, |slice| {
            // Unknown counts as ready, as the API has it.
            ready |= slice.endpoints.iter().flatten().any(|endpoint| {
                endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
                    && !endpoint.addresses.is_empty()
            });
        });
        match listed.await {
            Ok(()) if ready => Backend::Ready(service),
            Ok(()) => Backend::Dead(service, "none of its endpoints is ready"),
            Err(problem) => {
                self.unread(Area::Webhooks, format!("EndpointSlices of {service}"), &problem);
                Backend::Unknown(service)
            }
        }
    }
}

/// All but who answers.
fn facts(mutating: bool, object: &DynamicObject) -> WebhookConfiguration {
    let name = object.metadata.name.clone().unwrap_or_default();
    let is_eso = NAMES.contains(&name.as_str())
        || label(object, "external-secrets.io/component") == "webhook"
        || label(object, "app.kubernetes.io/name").starts_with("external-secrets");
    let hooks = list(&object.data, "/webhooks").map(|hook| Webhook {
        groups: list(hook, "/rules")
            .flat_map(|rule| list(rule, "/apiGroups"))
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        fails: text(hook, "/failurePolicy") != "Ignore",
        backend: Backend::Unknown(String::new()),
    });
    WebhookConfiguration {
        mutating,
        uid: object.metadata.uid.clone().unwrap_or_default(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        is_eso,
        hooks: hooks.collect(),
        name,
    }
}
