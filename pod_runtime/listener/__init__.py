"""Listening sockets whose connections are bounded before anybody has said who they are."""
