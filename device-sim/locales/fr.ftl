# La question sur le téléphone
prompt-title = Approuver la connexion ?
deny = REFUSER
approve = APPROUVER
not-me = Ce n’était pas moi
key-deny = r
key-approve = a
key-not-me = p

label-account = Compte
label-application = Application
label-place = Lieu
label-address = Adresse
label-time = Heure
label-message = Message
moment = { $day }/{ $month }/{ $year } { $clock }
place-and-address = { $place } ({ $address })

number = Tapez le nombre de la page de connexion :
number-first = Tapez d’abord le nombre de { $digits } chiffres affiché sur la page de connexion.
sending = Envoi de la réponse …

# Comment cela s’est terminé
done-approved = Connexion approuvée.
done-denied = Connexion refusée.
done-reported = Signalé : ce n’était pas vous. La connexion est refusée.
done-wrong-number = Ce n’était pas le nombre de la page de connexion. La connexion est refusée.
withdrawn = La demande a été retirée.
withdrawn-answered = La demande a déjà reçu une réponse.
withdrawn-superseded = La demande a été remplacée par une plus récente.
expired = La demande a expiré.
answer-failed = La réponse n’est pas arrivée : { $cause }

# L’application
enrolled = Ce téléphone est enregistré pour { $account } chez { $organisation }.
waiting = En attente de connexions. { $key } = quitter.
untrusted = Une demande ne vient pas du serveur de confiance ; elle n’est pas affichée.
disconnected = Pas de connexion au serveur : { $cause }
connected = Connecté au serveur.
removed = Ce téléphone n’est plus enregistré.
no-input = Pas de clavier : les demandes sont affichées, mais sans réponse possible.
goodbye = Au revoir.
