//! Process 1: mounts, devices, services and their sandboxes, shutdown.
