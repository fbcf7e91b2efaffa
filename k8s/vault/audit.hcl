# OpenBao declares audit devices in its server's configuration. Standard output is what a cluster collects.
audit "file" "file" {
  options {
    file_path = "stdout"
  }
}
