//! `keyferry ui`: a page, for whoever starts it, about what a kubeconfig's user may read. It only reads, and never a value: of Secrets
//! it asks whether they are there.
//!
//! Modules, in reading order: [`board`] what the page's table shows, and what of it changed (pure), [`users`] whether who uses Secrets changes,
//! [`live`] keeps that current and tells it as it changes, [`object`] all about one object, [`door`] who is let in. What a browser runs is in `page/`.

mod board;
mod users;
mod live;
mod object;
mod door;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::get;
use clap::Args;
use keyferry_cluster::connection::Connection;
use tokio::net::TcpListener;

use self::door::Door;
use self::live::Live;
use self::object::Desk;
use super::gather::MetricsFrom;
use crate::server::{bind, serve};

/// Flags of `keyferry ui`.
#[derive(Args, Debug)]
pub struct Ui {
    /// The way to the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// Show this namespace only, and the stores of the cluster; without it all
    #[arg(long, short, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Port of the loopback interface; without it one that is free
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "PORT")]
    pub port: u16,
    /// Open the page in the browser of this desktop
    #[arg(long)]
    pub open: bool,
    /// The controller class of the operator
    #[arg(long, default_value = "default", value_name = "CLASS")]
    pub controller_class: String,
    /// Where tries are known.
    #[command(flatten)]
    pub metrics: MetricsFrom,
}

/// The files of the page: their names, what they are, and what is in them.
const FILES: [(&str, &str, &str); 4] = [
    ("", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("page/app.js")),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

/// Serves the page until the end is asked for; the error is for a person.
pub async fn run(
    args: &Ui,
    ended: impl Future<Output = ()>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), String> {
    is_possible(args)?;
    tokio::select! {
        done = show(args, out, err) => done,
        () = ended => Ok(()),
    }
}

/// Prints the link, and answers whoever has it, for ever.
async fn show(args: &Ui, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), String> {
    let client = args.connection.client().await?;
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)), "--port").await?;
    let port = listener.local_addr().map_err(|error| format!("can't listen: {}", error.kind()))?.port();
    let door = Arc::new(Door::new(port));
    let link = door.link();
    let written = writeln!(out, "{link}").and_then(|()| out.flush());
    written.map_err(|_| "can't write to standard output".to_owned())?;
    let _ = writeln!(
        err,
        "Whoever opens this link first sees what the kubeconfig's user may read, but for values. Ctrl-C ends it."
    );
    if args.open && !opens(&link) {
        let _ = writeln!(err, "note: can't start a browser: open the link by hand");
    }
    let live = Arc::new(Live::new(client.clone(), args.namespace.clone(), args.metrics.clone()));
    let desk = Arc::new(Desk::new(client, live.clone(), args.controller_class.clone()));
    tokio::join!(served(listener, door, &live, desk), live.follow());
    Ok(())
}

/// Whether flags go together.
fn is_possible(args: &Ui) -> Result<(), String> {
    let is_input = args.metrics.metrics.as_ref().is_some_and(|file| file.as_os_str() == "-");
    if is_input {
        return Err(
            "--metrics - is read once, and the page reads metrics again and again: name a file or --metrics-url"
                .to_owned(),
        );
    }
    Ok(())
}

async fn served(listener: TcpListener, door: Arc<Door>, live: &Arc<Live>, desk: Arc<Desk>) {
    let mut router = Router::new();
    for (name, is, text) in FILES {
        let answer = move || std::future::ready(([(header::CONTENT_TYPE, is)], text).into_response());
        router = router.route(&door.path(name), get(answer));
    }
    router = router.merge(live::routes(&door, live.clone())).merge(object::routes(&door, desk));
    serve(listener, door::guarded(router, door), None).await;
}

/// Has the desktop open a link.
fn opens(link: &str) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(mut child) => {
            // It may stay as long as the browser does.
            std::thread::spawn(move || child.wait());
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser takes for a script that may not be there, a policy would stop: so it is not there.
    #[test]
    fn the_page_holds_nothing_that_its_policy_forbids() {
        let [(_, _, html), (_, _, css), (_, _, js), (_, _, icon)] = FILES;
        for (text, forbidden) in [
            (html, &["style=", "onclick", "onload", "javascript:", "http:", "https:", "//"][..]),
            (css, &["url(", "@import", "http"][..]),
            (
                js,
                &["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "https:"][..],
            ),
            (icon, &["script", "href"][..]),
        ] {
            for word in forbidden {
                assert!(!text.contains(word), "{word} is in {}", &text[..40]);
            }
        }
        assert_eq!(html.matches("<script").count(), 1);
    }
}
