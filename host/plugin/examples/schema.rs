//! Prints the JSON schema of `avs.toml`; `cargo xtask schema` writes it to `wit/avs-toml.schema.json`.

fn main() {
    print!("{}", eigenshift_plugin::manifest::schema());
}
