# Die Frage auf dem Telefon
prompt-title = Anmeldung genehmigen?
deny = ABLEHNEN
approve = GENEHMIGEN
not-me = Das war ich nicht
key-deny = a
key-approve = g
key-not-me = n

label-account = Konto
label-application = Anwendung
label-place = Ort
label-address = Adresse
label-time = Zeit
label-message = Nachricht
moment = { $day }.{ $month }.{ $year } { $clock }
place-and-address = { $place } ({ $address })

number = Zahl von der Anmeldeseite eingeben:
number-first = Geben Sie zuerst die { $digits }-stellige Zahl von der Anmeldeseite ein.
sending = Die Antwort wird gesendet …

# Wie es ausging
done-approved = Anmeldung genehmigt.
done-denied = Anmeldung abgelehnt.
done-reported = Gemeldet: Sie waren es nicht. Die Anmeldung ist abgelehnt.
done-revoked = Gemeldet: Sie waren es nicht. Die Anmeldung war schon genehmigt; der Fragende wird benachrichtigt.
done-wrong-number = Das war nicht die Zahl von der Anmeldeseite. Die Anmeldung ist abgelehnt.
withdrawn = Die Anfrage wurde zurückgezogen.
withdrawn-answered = Die Anfrage wurde bereits beantwortet.
withdrawn-superseded = Die Anfrage wurde durch eine neuere ersetzt.
expired = Die Anfrage ist abgelaufen.
answer-failed = Die Antwort ist nicht angekommen: { $cause }

# Die App
enrolled = Dieses Telefon ist für { $account } bei { $organisation } registriert.
waiting = Warten auf Anmeldungen. { $key } = beenden.
untrusted = Eine Anfrage kommt nicht vom vertrauten Server; sie wird nicht gezeigt.
disconnected = Keine Verbindung zum Server: { $cause }
connected = Mit dem Server verbunden.
removed = Dieses Telefon ist nicht mehr registriert.
no-input = Es gibt keine Tastatur: Anfragen werden gezeigt, aber nicht beantwortet.
goodbye = Auf Wiedersehen.
approved-elsewhere = Eine Anmeldung bei { $application } wurde mit einem anderen Gerät oder einem Code genehmigt. { $key } = das war ich nicht.
or-not-me = { $key } = das war ich nicht.

# Was mit dem Konto geschah
notice-unknown = An Ihrem Konto hat sich etwas geändert. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-device-added = Das Gerät { $detail } kann nun Ihre Anmeldungen genehmigen. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-device-removed = Das Gerät { $detail } kann Ihre Anmeldungen nicht mehr genehmigen. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-phone-added = Die Nummer { $detail } erhält nun Ihre Anmeldecodes. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-phone-removed = Die Nummer { $detail } erhält keine Anmeldecodes mehr. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-totp-added = Eine Authenticator-App wurde hinzugefügt. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-totp-removed = Die Authenticator-App wurde entfernt. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-recovery-codes-created = Es gibt neue Wiederherstellungscodes; die alten gelten nicht mehr. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-recovery-codes-removed = Ihre Wiederherstellungscodes wurden entfernt. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-account-locked = Ihr Konto ist gesperrt. Rufen Sie Ihren Helpdesk an.
notice-account-unlocked = Ihr Konto ist entsperrt. Waren Sie das nicht? Rufen Sie Ihren Helpdesk an.
notice-account-reset = Alle Ihre Anmeldewege wurden entfernt. Haben Sie das nicht verlangt? Rufen Sie Ihren Helpdesk an.
