//! What each login method shows to the server, and what to look at where the server does not take it.

use keyferry_provider_core::{BuildContext, Error, SecretBytes, SecretRef, json};
use keyferry_provider_identity::aws::{self, AwsIdentity};
use keyferry_provider_identity::cloud::Shown;
use keyferry_provider_identity::google::{self, GoogleIdentity};

use crate::method::{Gcp, Iam, Jwt, Method, RoleId};
use crate::product::Product;

/// What is sent for a login.
pub struct Proof {
    /// The path, below `/v1/`.
    pub path: String,
    /// The body.
    pub body: SecretBytes,
}

/// What `method` shows.
///
/// # Errors
/// Those of the credentials that it needs, and of who gives them; and where it shows nothing.
pub async fn of(product: Product, method: &Method, ctx: &BuildContext) -> Result<Proof, Error> {
    let field = format!("{product}.auth.{}", field(method));
    let shown = Shown { field: &field, ctx, is_to_named_server: true };
    match method {
        Method::AppRole { mount, role, secret } => app_role(mount, role, secret, &shown).await,
        Method::Kubernetes { mount, role, jwt } => with_jwt(mount, Some(role), &token(jwt, "", &shown).await?, &shown),
        Method::Jwt { mount, role, jwt } => {
            let token = token(jwt, "kubernetesServiceAccountToken.", &shown).await?;
            with_jwt(mount, role.as_deref(), &token, &shown)
        }
        Method::Password { mount, user, password, .. } => with_password(mount, user, password, &shown).await,
        Method::Cert { mount, role, .. } => {
            let role = role.as_ref().map(|role| ("name", role.as_str()));
            Ok(Proof { path: login_at(mount), body: json::object_of_texts(role) })
        }
        Method::Iam(iam) => by_aws(iam, &shown).await,
        Method::Gcp(gcp) => by_google(gcp, &shown).await,
        Method::None | Method::Token(_) => Err(Error::invalid("there is no login to make")),
    }
}

/// The field of `auth`.
pub fn field(method: &Method) -> &'static str {
    match method {
        Method::None => "",
        Method::Token(_) => "tokenSecretRef",
        Method::AppRole { .. } => "appRole",
        Method::Kubernetes { .. } => "kubernetes",
        Method::Password { field, .. } => field,
        Method::Jwt { .. } => "jwt",
        Method::Cert { .. } => "cert",
        Method::Iam(_) => "iam",
        Method::Gcp(_) => "gcp",
    }
}

/// What to look at where the server refuses a login.
pub fn hint(method: &Method) -> String {
    match method {
        Method::None | Method::Token(_) => String::new(), // there is no login to refuse
        Method::AppRole { .. } => "check the role id and the secret id".into(),
        Method::Kubernetes { role, jwt, .. } => {
            let who = match jwt {
                Jwt::ServiceAccount { account, .. } => format!("the ServiceAccount {:?}", account.name),
                Jwt::Secret(_) => "the ServiceAccount of the token in secretRef".into(),
                Jwt::Controller => "the operator's own ServiceAccount".into(),
            };
            format!("check that the role {role:?} exists, is bound to {who}, and accepts its token's audience")
        }
        Method::Password { user, .. } => format!("check the user {user:?} and its password"),
        Method::Jwt { role: Some(role), .. } => {
            format!("check that the role {role:?} exists and is bound to the issuer, subject and audience of the JWT")
        }
        Method::Jwt { role: None, .. } => "check that the method has a default role, which is bound to the JWT".into(),
        Method::Cert { role: Some(role), .. } => {
            format!("check that the role {role:?} exists and accepts the client certificate")
        }
        Method::Cert { role: None, .. } => "check that a role of the method accepts the client certificate".into(),
        Method::Iam(Iam { vault_role, .. }) => format!(
            "check that the role {vault_role:?} exists, is of the type iam, and is bound to our AWS identity, and that the \
             server asks the same region and wants the same vaultAwsIamServerID"
        ),
        Method::Gcp(gcp) => {
            let kind = match gcp.identity {
                GoogleIdentity::Operator => "gce",
                GoogleIdentity::Key(_) | GoogleIdentity::Workload { .. } => "iam",
            };
            format!(
                "check that the role {:?} exists, is of the type {kind}, and is bound to our service account",
                gcp.role
            )
        }
    }
}

/// Whether it is the operator's own identity in a cloud that logs in, and which cloud's.
pub fn is_of_operator(method: &Method) -> Option<&'static str> {
    match method {
        Method::Iam(iam) if matches!(iam.aws.identity, AwsIdentity::Operator) => Some("AWS"),
        Method::Gcp(gcp) if matches!(gcp.identity, GoogleIdentity::Operator) => Some("Google"),
        _ => None,
    }
}

async fn app_role(mount: &str, role: &RoleId, secret: &SecretRef, shown: &Shown<'_>) -> Result<Proof, Error> {
    let role = match role {
        RoleId::Plain(id) => SecretBytes::from(id.as_str()),
        RoleId::Ref(reference) => shown.secret(reference, None, "roleRef").await?,
    };
    let secret = shown.secret(secret, None, "secretRef").await?;
    let (role, secret) = (shown.text(&role)?.trim_ascii(), shown.text(&secret)?.trim_ascii());
    let body = json::object_of_texts([("role_id", role), ("secret_id", secret)]);
    Ok(Proof { path: login_at(mount), body })
}

async fn token(jwt: &Jwt, before: &str, shown: &Shown<'_>) -> Result<SecretBytes, Error> {
    match jwt {
        Jwt::ServiceAccount { account, audiences } => {
            let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
            shown.token(account, &audiences, &format!("{before}serviceAccountRef")).await
        }
        Jwt::Secret(reference) => {
            // The key that Kubernetes itself gives it.
            let key = before.is_empty().then_some("token");
            shown.secret(reference, key, "secretRef").await
        }
        Jwt::Controller => shown.ctx.credentials.controller_token().await.map_err(|error| error.context(shown.field)),
    }
}

fn with_jwt(mount: &str, role: Option<&str>, jwt: &SecretBytes, shown: &Shown<'_>) -> Result<Proof, Error> {
    let role = role.map(|role| ("role", role));
    let fields: Vec<_> = role.into_iter().chain([("jwt", shown.text(jwt)?.trim_ascii())]).collect();
    Ok(Proof { path: login_at(mount), body: json::object_of_texts(fields) })
}

async fn with_password(mount: &str, user: &str, password: &SecretRef, shown: &Shown<'_>) -> Result<Proof, Error> {
    let password = shown.secret(password, None, "secretRef").await?;
    // The end of a line is an editor's. Spaces may well be part of a password.
    let text = shown.text(&password)?.trim_end_matches(['\r', '\n']);
    Ok(Proof { path: format!("auth/{mount}/login/{user}"), body: json::object_of_texts([("password", text)]) })
}

async fn by_aws(iam: &Iam, shown: &Shown<'_>) -> Result<Proof, Error> {
    // The server takes the path of the URL, and asks the host that it is set up with.
    let host = aws::host_of_sts(&iam.aws.region);
    let id = iam.server_id.as_deref().map(|id| ("X-Vault-AWS-IAM-Server-ID", id));
    let question = aws::question(&iam.aws, &host, id, shown).await?;
    let (url, body, headers) = (question.url(), question.body(), question.headers_as_lists());
    let fields = [
        ("role", iam.vault_role.as_str()),
        ("iam_http_request_method", aws::METHOD),
        ("iam_request_url", shown.text(&url)?),
        ("iam_request_body", shown.text(&body)?),
        ("iam_request_headers", shown.text(&headers)?),
    ];
    Ok(Proof { path: login_at(&iam.mount), body: json::object_of_texts(fields) })
}

async fn by_google(gcp: &Gcp, shown: &Shown<'_>) -> Result<Proof, Error> {
    let audience = format!("vault/{}", gcp.role);
    // Of the machine's token the server wants an address.
    let audience =
        if matches!(gcp.identity, GoogleIdentity::Operator) { format!("http://{audience}") } else { audience };
    let jwt = google::jwt(&gcp.identity, &audience, shown).await?;
    with_jwt(&gcp.mount, Some(&gcp.role), &jwt, shown)
}

fn login_at(mount: &str) -> String {
    format!("auth/{mount}/login")
}
