# OpenBao declares audit devices in its server's configuration. A cluster collects standard output.
audit "file" "file" {
  options {
    file_path = "stdout"
  }
}
