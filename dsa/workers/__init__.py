"""What runs in processes of its own: hashing, packing, writing files. Light to import: no pyarrow."""
