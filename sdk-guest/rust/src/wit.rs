//! Bindings generated from `wit/v0.1`, one module for each world. A world's exports, and the section that declares them,
//! come into a component only where its `export_component!` is invoked; that is why every optional interface has a world
//! of its own. The types are generated once, in `lifecycle`, and shared by the rest.
#![allow(missing_docs, reason = "generated; the WIT package holds the documentation")]
#![allow(unsafe_code, reason = "the canonical ABI is made of raw memory; wit-bindgen generates it")]
#![allow(clippy::all, unused_qualifications, reason = "generated")]

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "avs-plugin",
        export_macro_name: "export_component",
        pub_export_macro: true,
        generate_all,
    });
}

pub mod task_source {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "with-task-source",
        export_macro_name: "export_component",
        pub_export_macro: true,
        with: {
            "eigenshift:avs/types@0.1.0": crate::wit::lifecycle::eigenshift::avs::types,
            "eigenshift:avs/chain@0.1.0": crate::wit::lifecycle::eigenshift::avs::chain,
            "eigenshift:avs/log@0.1.0": crate::wit::lifecycle::eigenshift::avs::log,
        },
    });
}

pub mod task_submission {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "with-task-submission",
        export_macro_name: "export_component",
        pub_export_macro: true,
        with: {
            "eigenshift:avs/types@0.1.0": crate::wit::lifecycle::eigenshift::avs::types,
            "eigenshift:avs/chain@0.1.0": crate::wit::lifecycle::eigenshift::avs::chain,
            "eigenshift:avs/log@0.1.0": crate::wit::lifecycle::eigenshift::avs::log,
        },
    });
}

pub mod rotation {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "with-rotation",
        export_macro_name: "export_component",
        pub_export_macro: true,
        with: {
            "eigenshift:avs/types@0.1.0": crate::wit::lifecycle::eigenshift::avs::types,
        },
    });
}

pub mod operator_directory {
    wit_bindgen::generate!({
        path: "../../wit/v0.1",
        world: "with-operator-directory",
        export_macro_name: "export_component",
        pub_export_macro: true,
        with: {
            "eigenshift:avs/types@0.1.0": crate::wit::lifecycle::eigenshift::avs::types,
            "eigenshift:avs/chain@0.1.0": crate::wit::lifecycle::eigenshift::avs::chain,
            "eigenshift:avs/log@0.1.0": crate::wit::lifecycle::eigenshift::avs::log,
        },
    });
}
