//! A service on a bus of its own, for the program to ask.

use std::path::Path;

use bus::Server;

/// Serves this interface, which `fill` answers, until the test ends.
pub fn serve(folder: &Path, id: &'static str, fill: impl FnOnce(&mut Server) + Send + 'static) {
    let folder = folder.to_owned();
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut server = Server::bind(&folder, &[id]).unwrap();
            fill(&mut server);
            ready.send(()).unwrap();
            server.run().await.unwrap();
        });
    });
    wait.recv().unwrap();
}
