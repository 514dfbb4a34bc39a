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
