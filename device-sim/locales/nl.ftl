# De vraag op de telefoon
prompt-title = Moet de aanmelding worden goedgekeurd?
deny = WEIGEREN
approve = GOEDKEUREN
not-me = Dat was ik niet
key-deny = w
key-approve = g
key-not-me = n

label-account = Account
label-application = Toepassing
label-place = Plaats
label-address = Adres
label-time = Tijd
label-message = Bericht
moment = { $day }-{ $month }-{ $year } { $clock }
place-and-address = { $place } ({ $address })

number = Typ het nummer van de aanmeldpagina:
number-first = Typ eerst het nummer van { $digits } cijfers dat op de aanmeldpagina staat.
sending = Het antwoord wordt verstuurd …

# Hoe het afliep
done-approved = Aanmelding goedgekeurd.
done-denied = Aanmelding geweigerd.
done-reported = Gemeld: dat was u niet. De aanmelding is geweigerd.
done-revoked = Gemeld: dat was u niet. De aanmelding was al goedgekeurd; de vrager krijgt bericht.
done-wrong-number = Dat was niet het nummer van de aanmeldpagina. De aanmelding is geweigerd.
withdrawn = De vraag is ingetrokken.
withdrawn-answered = De vraag is al beantwoord.
withdrawn-superseded = De vraag is vervangen door een nieuwere.
expired = De vraag is verlopen.
answer-failed = Het antwoord is niet aangekomen: { $cause }

# De app
enrolled = Deze telefoon is geregistreerd voor { $account } bij { $organisation }.
waiting = Wachten op aanmeldingen. { $key } = stoppen.
untrusted = Er kwam een vraag die niet van de vertrouwde server is; ze wordt niet getoond.
disconnected = Geen verbinding met de server: { $cause }
connected = Verbonden met de server.
removed = Deze telefoon is niet langer geregistreerd.
no-input = Er is geen toetsenbord: vragen worden getoond, maar niet beantwoord.
goodbye = Tot ziens.
approved-elsewhere = Een aanmelding bij { $application } is goedgekeurd met een ander toestel of een code. { $key } = dat was ik niet.
or-not-me = { $key } = dat was ik niet.

# Wat er met het account gebeurde
notice-unknown = Er is iets aan uw account veranderd. Was u dit niet? Bel uw helpdesk.
notice-device-added = Het toestel { $detail } kan nu uw aanmeldingen goedkeuren. Was u dit niet? Bel uw helpdesk.
notice-device-removed = Het toestel { $detail } kan uw aanmeldingen niet langer goedkeuren. Was u dit niet? Bel uw helpdesk.
notice-phone-added = Het nummer { $detail } ontvangt voortaan uw aanmeldcodes. Was u dit niet? Bel uw helpdesk.
notice-phone-removed = Het nummer { $detail } ontvangt geen aanmeldcodes meer. Was u dit niet? Bel uw helpdesk.
notice-totp-added = Er is een authenticator-app toegevoegd. Was u dit niet? Bel uw helpdesk.
notice-totp-removed = De authenticator-app is verwijderd. Was u dit niet? Bel uw helpdesk.
notice-recovery-codes-created = Er zijn nieuwe herstelcodes gemaakt; de vorige werken niet meer. Was u dit niet? Bel uw helpdesk.
notice-recovery-codes-removed = Uw herstelcodes zijn verwijderd. Was u dit niet? Bel uw helpdesk.
notice-account-locked = Uw account is vergrendeld. Bel uw helpdesk.
notice-account-unlocked = Uw account is ontgrendeld. Was u dit niet? Bel uw helpdesk.
notice-account-reset = Al uw aanmeldmethoden zijn gewist. Hebt u dat niet gevraagd? Bel uw helpdesk.
