//! The API's description: OpenAPI 3.1 at `/openapi.json`, made from the handlers, and Swagger UI at `/docs`.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Info, LicenseBuilder, SecurityRequirement, Server, ServerBuilder, ServerVariableBuilder,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_swagger_ui::SwaggerUi;

use super::{audit, auth, health, jobs, kv, schemas, seeing, watch};

#[derive(OpenApi)]
#[openapi(
    paths(
        auth::register::register,
        auth::login::login,
        auth::refresh::refresh,
        auth::refresh::logout,
        auth::me::me,
        auth::api_keys::list,
        auth::api_keys::create,
        auth::api_keys::revoke,
        auth::api_keys::rotate,
        kv::create::create,
        kv::list::list,
        kv::list::count,
        kv::batch::batch,
        kv::read::read,
        kv::write::write,
        kv::patch::patch,
        kv::remove::remove,
        kv::exists::exists,
        kv::increment::increment,
        kv::ttl::read,
        kv::ttl::write,
        kv::ttl::remove,
        watch::watch,
        jobs::create::create,
        jobs::read::list,
        jobs::read::read,
        jobs::bytes::result,
        jobs::bytes::create_input,
        jobs::change::cancel,
        jobs::change::retry,
        jobs::schedules::list,
        jobs::schedules::read,
        jobs::schedules::write,
        jobs::schedules::remove,
        audit::read,
        seeing::diag,
        seeing::peers,
        seeing::health,
        health::live,
        health::ready,
    ),
    components(responses(schemas::Failed)),
    modifiers(&Surroundings)
)]
struct Description;

/// What is said once for all operations.
struct Surroundings;

impl Modify for Surroundings {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        api.info = Info::new("Keystead", env!("CARGO_PKG_VERSION"));
        api.info.description = Some("A Redis of its own for every tenant, behind one door.".into());
        api.info.license =
            Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build());
        let tenant = ServerVariableBuilder::new().default_value("acme").description(Some("The tenant"));
        api.servers = Some(vec![
            Server::new("/api/v1"),
            ServerBuilder::new().url("/t/{tenant}/api/v1").parameter("tenant", tenant).build(),
        ]);
        // Outside of both trees.
        if let Some(path) = api.paths.paths.get_mut("/t/{tenant}/health") {
            path.servers = Some(vec![Server::new("/")]);
        }
        let parts = api.components.get_or_insert_default();
        parts.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let api_key = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        parts.add_security_scheme("api_key", SecurityScheme::ApiKey(api_key));
        api.security = None::<Vec<SecurityRequirement>>;
    }
}

/// The description itself.
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// The paths of the description, which are no part of the API.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    SwaggerUi::new("/docs").url("/openapi.json", description()).into()
}
