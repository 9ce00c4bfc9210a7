//! Writes the C header, `agent/capi/include/nrd_agent.h`.

fn main() {
    let path = nrd_tests::header::path();
    std::fs::write(&path, nrd_tests::header::text()).expect("the header can be written");
    println!("{}", path.display());
}
