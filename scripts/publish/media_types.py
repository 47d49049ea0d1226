"""Media types of the OCI image specification, v1.1, and of files without one."""

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
FILE_TYPE = "application/octet-stream"
