"""Rights of the people who were recorded (Art. 15 to 22 GDPR): requests, their deadlines, and what answers them."""
