//! The behaviour that every store shares, and what is each vendor's own, against servers of ours.

mod common;
mod doppler;
mod gitlab;
mod infisical;
mod akeyless;
mod scaleway;
mod delinea;
mod fortanix;
mod secretserver;
mod ngrok;
mod github;
mod ibm;
mod oracle;
mod ovh;
mod generate;
