"""WebRTC as far as a recorder needs it: one audio stream that a browser sends, over ICE, DTLS and SRTP."""
