//! Writes the CRDs into `crds/yaml` and into the chart, which can't read what lies outside of it, and their fields for people
//! into `docs/reference`: run it (`cargo run -p keyferry-crds`) after changing the schema.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in [here.join("yaml"), here.join("../config/chart/files/crds")] {
        std::fs::create_dir_all(&folder)?;
        keyferry_crds::crds()
            .iter()
            .try_for_each(|crd| std::fs::write(folder.join(keyferry_crds::file_name(crd)), keyferry_crds::yaml(crd)))?;
    }
    let folder = here.join("../docs/reference");
    std::fs::create_dir_all(&folder)?;
    keyferry_crds::reference().iter().try_for_each(|(file, page)| std::fs::write(folder.join(file), page))
}
